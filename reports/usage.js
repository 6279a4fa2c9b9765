// The tables of usage: as they came without a filter, counted again from the cells under one.

const NOT_UNDER_FILTERS = '<span class="unknown" title="Not known under a filter"><span aria-hidden="true">–</span><span class="vh">not known under a filter</span></span>';

function numberCell(value, kind, largest) {
  if (value === undefined || value === null) {
    const cell = element("td", { class: "n", "data-order": -1 });
    cell.innerHTML = value === null ? UNKNOWN : NOT_UNDER_FILTERS;
    return cell;
  }
  if (kind === "time" || kind === "minute") return timeCell(value);
  const cell = element("td", { class: "n", "data-order": value });
  const shown = kind === "bytes" ? bytesText(value) : countText(value);
  cell.append(element("data", kind === "bytes" ? { value, title: `${countText(value)} bytes` } : { value }, shown));
  if (largest !== undefined) cell.insertAdjacentHTML("beforeend", `<svg class="bar" viewBox="0 0 100 4" preserveAspectRatio="none" aria-hidden="true"><rect width="${largest ? ((100 * Number(value)) / Number(largest)).toFixed(2) : 0}" height="4"/></svg>`);
  return cell;
}

function timeCell(value) {
  const known = value > -Infinity;
  const cell = element("td", { class: "t", "data-order": known ? value : -1 });
  if (known) cell.append(element("time", { datetime: timeText(value), title: timeText(value) }, timeText(value).slice(0, 16)));
  else cell.innerHTML = UNKNOWN;
  return cell;
}

class UsageTable {
  constructor(table, cube) {
    Object.assign(this, { table, cube, api: new DataTable.Api(table) });
    this.columns = [...table.tHead.rows[0].cells].map((cell) => ({ ...cell.dataset }));
    this.keys = this.columns.filter((column) => column.key).map((column) => column.key);
    this.whole = this.api.rows().nodes().toArray();
    this.isWhole = true;
    this.note = table.closest("section").querySelector(".unfiltered");
    this.can = this.keys.every((key) => cube.has(key));
    for (const pick of table.querySelectorAll("button.pick")) this.checkPick(pick);
  }

  // A name that has no cells of its own can't be chosen.
  checkPick(pick) {
    const { column, value } = pick.dataset;
    if (!this.cube.has(column) || !this.cube.names[column].values.includes(value)) pick.replaceWith(...pick.childNodes);
  }

  // Shows the usage by the runs of cells; null for the table as it came.
  show(rows) {
    this.note.hidden = rows === null || this.can;
    const isWhole = rows === null;
    if (!this.can || (isWhole && this.isWhole)) return;
    this.isWhole = isWhole;
    const nodes = rows === null ? this.whole : this.counted(rows);
    this.api.clear().rows.add(nodes).draw();
  }

  counted(rows) {
    const { cube, keys, columns } = this;
    const groups = [...cube.groups(rows, (row) => keys.map((key) => cube.names[key].codes[row]).join()).values()];
    const numbers = groups.map((cells) => columns.map((column) => (column.key ? null : cube.measure(cells, column.name))));
    const largest = columns.map((column, index) => (column.bar ? numbers.reduce((most, line) => (line[index] > most ? line[index] : most), 0) : undefined));
    const order = numbers.map((line, index) => index).sort((a, b) => Number(cube.sum(groups[b], "runs")) - Number(cube.sum(groups[a], "runs")));
    return order.map((index) => element("tr", {}, ...columns.map((column, place) => (column.key ? this.nameCell(column, groups[index][0]) : numberCell(numbers[index][place], column.kind, largest[place])))));
  }

  nameCell({ key, pick }, row) {
    const value = this.cube.value(key, row);
    const cell = element("th", { scope: "row", class: "name" });
    if (value === null) cell.innerHTML = UNKNOWN;
    else if (value === OTHER) cell.append(otherText(this.cube.names[key]));
    else if (!pick) cell.append(clipped(value));
    else cell.append(element("button", { type: "button", class: "pick", "data-column": key, "data-value": value, title: `Show only ${value}` }, clipped(value)));
    return cell;
  }
}

function otherText(name) {
  return `${countText(name.folded)} others`;
}

function clipped(text) {
  return text.length > 24 ? element("span", { class: "clip", title: text }, text) : text;
}
