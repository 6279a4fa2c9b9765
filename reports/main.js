// Brings the page to life: one set of filters, which charts and tables follow.

const PAGE_OF_ROWS = 10;
const CHOICES = { host: "Host", owner: "Owner", comm: "Program", file: "File", status: "Status" };

function enhance(table) {
  const long = table.tBodies[0].rows.length > PAGE_OF_ROWS;
  new DataTable(table, {
    order: [],
    autoWidth: false,
    paging: long,
    searching: long || table.classList.contains("follows"),
    info: long,
    pageLength: PAGE_OF_ROWS,
    lengthMenu: [10, 25, 50, 100, 500],
    layout: {
      topStart: long ? "search" : null,
      topEnd: long ? "pageLength" : null,
      bottomStart: long ? "info" : null,
      bottomEnd: long ? "paging" : null,
    },
    language: tableWords("rows", "Search this table"),
  });
  furnish(table, table.caption.textContent);
}

// A table whose rows say of which host, owner and program they are, and when: it follows the filters.
class FollowingTable {
  constructor(table) {
    this.api = new DataTable.Api(table);
  }

  filter(chosen, range) {
    const names = [...chosen].filter(([name]) => ["host", "owner", "comm"].includes(name));
    this.api.search.fixed("page", (text, data, index) => {
      const row = this.api.row(index).node().dataset;
      if (range && !(row.at >= range[0] && row.at < range[1])) return false;
      return names.every(([name, value]) => (row[name] ?? null) === value);
    });
    this.api.draw();
  }
}

class Page {
  constructor(cube, week, runs, hosts) {
    Object.assign(this, { cube, week, runs, hosts, chosen: new Map(), range: null });
    this.form = document.getElementById("filters");
    this.chips = this.form.querySelector(".chips");
    this.tiles = [...document.querySelectorAll(".tile data[data-name]")].map((shown) => ({ shown, whole: shown.cloneNode(true) }));
    this.usage = [...document.querySelectorAll("table.usage")].map((table) => new UsageTable(table, cube));
    this.following = [...document.querySelectorAll("table.follows")].map((table) => new FollowingTable(table));
    this.readings = document.getElementById("filtered");
  }

  async draw() {
    const over = document.getElementById("chart");
    if (over) {
      this.charts = new TimeCharts(over, this.cube, (range) => this.within(range));
      await this.charts.draw();
      this.hours = new WeekChart(document.getElementById("week-chart"));
      await this.hours.draw();
    }
    this.furnishForm();
    this.update();
  }

  furnishForm() {
    const fields = this.form.elements;
    for (const select of this.form.querySelectorAll("select")) {
      const { values, codes } = this.cube.names[select.name];
      const options = values.map((value, code) => [value, code]).filter(([value]) => value !== OTHER).sort(([a], [b]) => a.localeCompare(b, "en", { numeric: true }));
      if (codes.includes(-1)) options.push(["not known", -1]);
      select.append(...options.map(([value, code]) => element("option", { value: code }, value)));
      select.addEventListener("change", () => this.choose(select.name, select.value === "" ? undefined : values[select.value] ?? null));
    }
    for (const name of ["from", "to"]) {
      fields[name].disabled = !this.charts;
      fields[name].addEventListener("change", () => this.typed());
    }
    fields.clear.addEventListener("click", () => this.reset());
    this.form.addEventListener("submit", (event) => event.preventDefault());
    this.form.hidden = false;
  }

  // What was typed counts where it is a window; else the fields show what is in force.
  typed() {
    const [from, to] = ["from", "to"].map((name) => inputTime(this.form.elements[name].value));
    if (this.charts && from !== null && to !== null && from < to) this.charts.choose(from, to);
    else this.fillForm();
  }

  choose(name, value) {
    if (value === undefined) this.chosen.delete(name);
    else this.chosen.set(name, value);
    this.update();
  }

  within(range) {
    this.range = range;
    this.update();
  }

  reset() {
    this.chosen.clear();
    this.within(null);
  }

  get isWhole() {
    return this.range === null && this.chosen.size === 0;
  }

  update() {
    const named = this.cube.rows(this.chosen, null);
    const rows = this.range === null ? named : this.cube.rows(this.chosen, this.range);
    const narrowed = this.isWhole ? null : rows;
    if (this.charts) {
      this.charts.show(named, this.range);
      this.hours.show(this.hoursOf(rows));
    }
    for (const table of this.usage) table.show(narrowed);
    for (const table of [this.runs, this.hosts, ...this.following]) table?.filter(this.chosen, this.range);
    this.showTiles(narrowed);
    this.fillForm();
    this.showChips();
    const total = this.cube.sum(this.cube.rows(new Map(), null), "runs") ?? 0;
    this.readings.textContent = narrowed ? `${countText(this.cube.sum(rows, "runs") ?? 0)} of ${runsText(total)}` : `All ${runsText(total)}`;
  }

  // Counts the runs of each hour of the week. Where buckets are longer than an hour there are
  // cells for it, by one kind of names at a time and of the whole range.
  hoursOf(rows) {
    const counts = new Array(168).fill(0);
    const [kind = "host", ...more] = this.chosen.keys();
    const cells = this.week && this.week[kind];
    document.getElementById("hours-of-all").hidden = !(this.week && this.range);
    if (this.week && (more.length || !cells || !cells.knows(this.chosen))) return null;
    for (const row of cells ? cells.rows(this.chosen, null) : rows) {
      const hour = cells ? cells.hour[row] : this.cube.hourOfWeek(row);
      if (hour !== null) counts[hour] += (cells || this.cube).measures.runs[row];
    }
    return counts;
  }

  showTiles(rows) {
    for (const { shown, whole } of this.tiles) {
      const value = rows && this.cube.measure(rows, whole.dataset.name);
      const isBytes = whole.dataset.kind === "bytes";
      if (!rows) shown.replaceChildren(whole.textContent);
      else if (value === undefined) shown.innerHTML = NOT_UNDER_FILTERS;
      else shown.replaceChildren(isBytes ? bytesText(value ?? 0) : countText(value ?? 0));
      shown.value = rows ? String(value ?? 0) : whole.value;
      shown.title = rows ? countText(value ?? 0) + (isBytes ? " bytes" : "") : whole.title;
    }
  }

  fillForm() {
    const fields = this.form.elements;
    for (const select of this.form.querySelectorAll("select")) {
      const value = this.chosen.get(select.name);
      select.value = value === undefined ? "" : String(this.cube.names[select.name].values.indexOf(value));
    }
    fields.clear.disabled = this.isWhole;
    if (!this.charts) return;
    const [from, to] = this.range || this.charts.whole;
    fields.from.value = inputText(from);
    fields.to.value = inputText(to);
  }

  showChips() {
    const chips = [...this.chosen].map(([name, value]) => this.chip(`${CHOICES[name] ?? name}: ${value ?? "not known"}`, () => this.choose(name, undefined)));
    if (this.range) chips.unshift(this.chip(`Started ${this.range.map(timeText).join(" to ")}`, () => this.within(null)));
    this.chips.replaceChildren(...chips);
  }

  chip(text, remove) {
    const button = element("button", { type: "button", "aria-label": `Remove the filter ${text}` }, "×");
    button.addEventListener("click", remove);
    return element("li", {}, element("span", { class: "clip" }, text), button);
  }
}

async function main() {
  await load("libraries");
  const { runs, cube, week, hosts } = JSON.parse(await unpacked("data"));
  for (const table of document.querySelectorAll("table.sortable")) enhance(table);
  const runsTable = document.getElementById("runs-table");
  const table = runsTable && new RunTable(runsTable, runs);
  const hostsTable = hosts && new HostTable(document.getElementById("hosts-table"), hosts, cube);
  if (cube && runs.count) {
    const weeks = week && Object.fromEntries(Object.entries(week).map(([kind, cells]) => [kind, new Cube(cells)]));
    const page = new Page(new Cube(cube), weeks, table, hostsTable);
    await page.draw();
    document.addEventListener("click", (event) => {
      const pick = event.target.closest("button.pick");
      if (!pick) return;
      page.choose(pick.dataset.column, pick.dataset.value);
      page.form.scrollIntoView({ block: "nearest" });
      page.form.elements.clear.focus({ preventScroll: true });
    });
  }
  document.documentElement.dataset.ready = "true";
  performance.mark("interactive");
}

// What the page shows to browsers without script, it shows to those that can't unpack its data, too.
if ("DecompressionStream" in window) main();
else for (const note of document.querySelectorAll("noscript")) note.outerHTML = note.textContent;
