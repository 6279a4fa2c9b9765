// The table of machines, from the columns that the page carries.

function unpackHosts(data) {
  const at = ({ base, ms }, row) => (ms[row] === null ? null : base + ms[row]);
  return Array.from({ length: data.count }, (none, row) => ({
    host: textAt(data.host, row),
    state: textAt(data.state, row),
    version: textAt(data.version, row),
    source: textAt(data.srcversion, row),
    kernel: textAt(data.kernel, row),
    last_sign: at(data.last_sign, row),
    first_run: at(data.first_run, row),
    ...Object.fromEntries(["runs", "incomplete", "incidents", "lost", "traced", "untraced", "days"].map((name) => [name, data[name][row]])),
  }));
}

function stateText(value) {
  return `<span class="status${value === "as usual" ? " whole" : ""}">${escaped(value)}</span>`;
}

function shareText(value) {
  return `<data value="${value}">${(100 * value).toFixed(0)} %</data>`;
}

function momentColumn(name) {
  return column(name, (value) => `<time datetime="${timeText(value)}" title="${timeText(value)}">${timeText(value).slice(0, 16)}</time>`, { type: "num", className: "t" });
}

// A host that the filters know is chosen by a click.
function hostColumn(cube) {
  const known = new Set(cube ? cube.names.host.values : []);
  const made = textColumn("host");
  const plain = made.render.display;
  made.render.display = (value, type, row) => (known.has(value) ? `<button type="button" class="pick" data-column="host" data-value="${escaped(value)}" title="Show only ${escaped(value)}">${plain(value, type, row)}</button>` : plain(value, type, row));
  return made;
}

function moduleColumn() {
  const made = textColumn("version", "word");
  made.render.display = (value, type, row) => (value === null && row.source === null ? UNKNOWN : `<span title="source version ${escaped(row.source ?? "not known")}">${escaped(value ?? row.source)}</span>`);
  return made;
}

function hostColumns(cube) {
  return [
    hostColumn(cube), column("state", stateText, { type: "string" }), momentColumn("last_sign"),
    ...["runs", "incomplete", "incidents", "lost"].map((name) => numberColumn(name, (value) => `<data value="${value}">${countText(value)}</data>`)),
    numberColumn("traced", shareText), numberColumn("untraced", shareText),
    moduleColumn(), textColumn("kernel", "word"), momentColumn("first_run"),
    numberColumn("days", (value) => `<data value="${value}">${countText(Math.round(value))}</data>`),
  ];
}

class HostTable {
  constructor(table, data, cube) {
    this.rows = unpackHosts(data);
    this.api = new DataTable(table, {
      data: this.rows,
      columns: hostColumns(cube),
      order: [],
      pageLength: 10,
      lengthMenu: [10, 25, 50, 100, 500],
      autoWidth: false,
      layout: { topStart: "search", topEnd: "pageLength", bottomStart: "info", bottomEnd: "paging" },
      language: tableWords("machines", "Search the machines"),
    });
    furnish(table, "Table of machines");
  }

  // Keeps the chosen machine: all else that can be chosen is of runs.
  filter(chosen) {
    const host = chosen.get("host");
    this.api.search.fixed("filters", chosen.has("host") ? (text, row) => row.host === host : null).draw();
  }
}
