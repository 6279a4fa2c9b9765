// The table of runs, from the columns that the page carries.

const CALLS = ["open_calls", "close_calls", "read_calls", "write_calls", "lseek_calls"];
const UNKNOWN = '<span class="unknown"><span aria-hidden="true">–</span><span class="vh">not known</span></span>';

// Whatever a log says passes through here before it becomes markup.
function escaped(text) {
  return text.replace(/[&<>"']/g, (sign) => `&#${sign.charCodeAt(0)};`);
}

function textAt(column, row) {
  const code = column.codes[row];
  return code < 0 ? null : column.values[code];
}

function unpackRuns(data) {
  const rows = [];
  const { base, ms, zones } = data.at;
  const ended = new Set(data.ended);
  for (let row = 0; row < data.count; row += 1) {
    const known = ms[row] !== null;
    const zone = zones.codes ? zones.codes[row] : 0;
    const calls = CALLS.map((name) => data[name][row]);
    rows.push({
      id: data.id[row],
      page: row < data.pages && /^[0-9a-f]{1,64}$/.test(data.id[row]),
      at: known ? base + ms[row] : null,
      utc: known ? base + ms[row] - zones.minutes[zone] * 6e4 : null,
      ended: ended.has(row),
      zone: known && zones.codes ? zones.values[zone] : "",
      host: textAt(data.host, row),
      owner: textAt(data.owner, row),
      comm: textAt(data.comm, row),
      pid: data.pid[row],
      file: textAt(data.file, row),
      read: data.read_bytes[row],
      written: data.written_bytes[row],
      calls: calls.every((n) => n === null) ? null : calls.reduce((sum, n) => sum + n, 0),
      each: calls,
      took: data.took[row],
      status: textAt(data.status, row),
    });
  }
  return rows;
}

// A column whose cells are shown by `shown`, and sorted and searched by their bare value.
function column(name, shown, options) {
  return {
    name,
    data: name,
    render: {
      _: (value) => value,
      display: (value, type, row) => (value === null ? UNKNOWN : shown(value, row)),
      filter: (value) => (value === null ? "" : value),
      sort: (value) => value,
    },
    ...options,
  };
}

function textColumn(name, className) {
  const shown = (value) => `<span class="clip" title="${escaped(value)}">${escaped(value)}</span>`;
  const made = column(name, shown, { type: "string", className: className || "name" });
  made.render.sort = (value) => (value === null ? "" : value.toLowerCase());
  return made;
}

function numberColumn(name, shown, searchable) {
  const made = column(name, shown, { type: "num", className: "n", searchable: Boolean(searchable) });
  made.render.sort = (value) => (value === null ? -1 : value);
  return made;
}

function sizeText(value) {
  return `<data value="${value}" title="${countText(value)} bytes">${bytesText(value)}</data>`;
}

function callsText(value, row) {
  const each = CALLS.map((name, i) => `${name.replace("_calls", "")} ${row.each[i] === null ? "not known" : countText(row.each[i])}`);
  return `<data value="${value}" title="${each.join(", ")}">${countText(value)}</data>`;
}

function runColumns() {
  const id = column("id", (value, row) => (row.page ? `<a href="runs/${value}.html"><code>${value}</code></a>` : `<code>${escaped(value)}</code>`), { type: "string" });
  const at = column("at", (value, row) => (row.ended ? "ended " : "") + escaped(`${timeText(value)} ${row.zone}`.trim()), { type: "num", className: "t" });
  at.render.sort = (value, type, row) => (row.utc === null ? -Infinity : row.utc);
  at.render.filter = (value, type, row) => (value === null ? "" : `${timeText(value)} ${row.zone}`);
  const status = column("status", (value) => `<span class="status${value === "complete" ? " whole" : ""}">${escaped(value.replace("_", " "))}</span>`, { type: "string" });
  return [
    id, at, status, textColumn("owner"), textColumn("comm"), textColumn("file"),
    numberColumn("read", sizeText), numberColumn("written", sizeText),
    numberColumn("calls", callsText), numberColumn("took", tookText),
    textColumn("host"), numberColumn("pid", (value) => String(value), true),
  ];
}

class RunTable {
  constructor(table, data) {
    this.rows = unpackRuns(data);
    this.isWhole = true;
    this.api = new DataTable(table, {
      data: this.rows,
      columns: runColumns(),
      order: [],
      pageLength: 25,
      lengthMenu: [25, 50, 100, 250],
      autoWidth: false,
      layout: { topStart: ["search", () => document.getElementById("of-status")], topEnd: "pageLength", bottomStart: "info", bottomEnd: "paging" },
      language: tableWords("runs", "Search the runs"),
    });
    furnish(table, "Table of runs");
    const choice = document.getElementById("of-status");
    const select = choice.querySelector("select");
    choice.hidden = false;
    for (const value of [...data.status.values].sort()) select.append(element("option", { value }, value.replace("_", " ")));
    select.addEventListener("change", () => {
      const wanted = select.value;
      this.api.search.fixed("status", wanted ? (text, row) => row.status === wanted : null).draw();
    });
  }

  // Keeps the runs that have the chosen names and began within a window of wall-clock time.
  filter(chosen, range) {
    const isWhole = range === null && chosen.size === 0;
    if (isWhole && this.isWhole) return;
    this.isWhole = isWhole;
    const within = (row) => range === null || (row.at !== null && row.at >= range[0] && row.at < range[1]);
    const named = (row) => [...chosen].every(([name, value]) => row[name] === value);
    this.api.search.fixed("filters", isWhole ? null : (text, row) => within(row) && named(row)).draw();
  }
}

function tableWords(things, search) {
  return {
    search: "Search ",
    searchPlaceholder: search,
    lengthMenu: "_MENU_ a page",
    info: `_START_ to _END_ of _TOTAL_ ${things}`,
    infoEmpty: `No ${things}`,
    infoFiltered: "(of _MAX_)",
    zeroRecords: `No ${things} match`,
    emptyTable: `No ${things}`,
  };
}

// Lets a wide table scroll by itself, also by keys, while what belongs to it stays in place.
function furnish(table, label) {
  const container = table.closest(".dt-container");
  const outer = container.closest(".scroll");
  if (outer) {
    outer.classList.remove("scroll");
    for (const name of ["role", "tabindex", "aria-label"]) outer.removeAttribute(name);
  }
  const box = table.closest(".dt-layout-cell");
  box.classList.add("scroll");
  box.setAttribute("role", "region");
  box.setAttribute("tabindex", "0");
  box.setAttribute("aria-label", label);
  // The library answers Enter alone, and a button is pressed with the space bar too.
  table.tHead.addEventListener("keydown", (event) => {
    if (event.key !== " " || !event.target.matches(".dt-column-order")) return;
    event.preventDefault();
    event.target.click();
  });
  const pages = container.querySelector(".dt-paging nav");
  if (pages) pages.setAttribute("aria-label", `Pages: ${label}`);
}
