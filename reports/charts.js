// The charts, drawn by Vega. Their colours are those of the style, so that they follow the
// system's light and dark by themselves.

const MINUTE = HOUR / 60;
const SPANS = [1, 2, 5, 10, 20, 30, 60, 120, 180, 360, 720, 1440, 2880, 10080, 20160, 40320, 80640, 524160].map((minutes) => minutes * MINUTE); // of a bar
const FEWEST = 12; // buckets across a chart, so that one alone does not fill it
const BAR_WIDTH = 14; // pixels, at least
const PANELS = [
  { id: "runs-chart", height: 150, base: 10, text: "countText", series: [["complete", "var(--complete)"], ["incomplete", "url(#hatch-incomplete)"]] },
  { id: "bytes-chart", height: 100, base: 2, text: "bytesText", series: [["read", "var(--read)"], ["written", "url(#hatch-written)"]] },
];
const TIME_LABELS = "utcFormat(datum.value, {year: '%Y', quarter: '%b %Y', month: '%b %Y', week: '%-d %b', date: '%-d %b', hours: '%H:%M', minutes: '%H:%M', seconds: '%H:%M:%S'})";
const FUNCTIONS = { countText, bytesText: (size) => bytesText(size).replace(".0 ", " ") };
const CONFIG = {
  background: null,
  customFormatTypes: true,
  view: { stroke: null },
  axis: { labelColor: "var(--muted)", labelFontSize: 12, gridColor: "var(--line)", gridDash: [2, 3], domainColor: "var(--muted)", tickColor: "var(--muted)", title: null },
  legend: { labelColor: "var(--muted)", labelFontSize: 12, orient: "top", title: null, symbolType: "square", symbolStrokeWidth: 0, offset: 6, padding: 0 },
};

// What is dragged is nothing to read.
function hideBrush(spec) {
  for (const mark of spec.marks) if (mark.name && mark.name.startsWith("brush_")) mark.aria = false;
  return spec;
}

async function draw(plot, spec) {
  // Interpreted, as the page's policy allows no code that is made from text. Of warnings there is
  // one, that empty data has no extent; a chart is empty at first, and where filters leave nothing.
  const options = { ast: true, logLevel: 1, renderer: "svg", actions: false, defaultStyle: false, tooltip: false, patch: hideBrush, expressionFunctions: FUNCTIONS };
  const config = { ...CONFIG, font: getComputedStyle(document.body).fontFamily };
  const { view } = await vegaEmbed(plot, { autosize: { type: "fit-x", contains: "padding" }, width: "container", config, ...spec }, options);
  return view;
}

function timePanel(panel) {
  const x = { field: "from", type: "temporal", scale: { type: "utc", domainMin: { expr: "begin" }, domainMax: { expr: "end" } }, axis: { grid: false, labelExpr: TIME_LABELS, labelOverlap: "greedy", labelSeparation: 10, labelFlush: true } };
  const y = { field: "below", type: "quantitative", scale: { domainMin: 0, domainMax: { expr: "ticks[length(ticks) - 1]" }, nice: false }, axis: { values: { expr: "ticks" }, formatType: panel.text, minExtent: 64, maxExtent: 64, domain: false, ticks: false } };
  const [names, fills] = [0, 1].map((place) => panel.series.map((each) => each[place]));
  const whole = { x, x2: { field: "to" } };
  return {
    height: panel.height,
    params: [{ name: "begin", value: 0 }, { name: "end", value: 1 }, { name: "ticks", value: [0, 1] }],
    layer: [
      {
        data: { name: "bars", values: [] },
        params: [{ name: "brush", select: { type: "interval", encodings: ["x"], translate: false, zoom: false, clear: false, mark: { fill: "var(--accent)", fillOpacity: 0.18, stroke: "var(--accent)" } } }],
        mark: { type: "rect", opacity: 0, clip: true },
        encoding: { ...whole, description: { field: "text", type: "nominal" } },
      },
      {
        data: { name: "parts", values: [] },
        mark: { type: "rect", clip: true, aria: false, x2Offset: -1, strokeWidth: 0 },
        encoding: { ...whole, y, y2: { field: "above" }, fill: { field: "part", type: "nominal", scale: { domain: names, range: fills }, legend: {} } },
      },
      { data: { name: "cursor", values: [] }, mark: { type: "rect", clip: true, aria: false, fill: "var(--text)", fillOpacity: 0.09 }, encoding: whole },
    ],
  };
}

const WEEK_PANEL = {
  height: 133,
  data: { name: "cells", values: [] },
  params: [{ name: "most", value: 1 }],
  mark: { type: "rect", fill: "var(--complete)", stroke: "var(--surface)", strokeWidth: 2 },
  encoding: {
    x: { field: "hour", type: "ordinal", scale: { domain: Array.from({ length: 24 }, (none, hour) => hour) }, axis: { labelAngle: 0, labelExpr: "format(datum.value, '02d')", labelOverlap: true, domain: false, ticks: false, orient: "bottom" } },
    y: { field: "day", type: "ordinal", scale: { domain: WEEKDAYS.map((name) => name.slice(0, 3)) }, axis: { domain: false, ticks: false, minExtent: 64, maxExtent: 64 } },
    fillOpacity: { field: "runs", type: "quantitative", scale: { type: "sqrt", domain: [0, { expr: "most" }], range: [0.07, 1] }, legend: null },
    description: { field: "text", type: "nominal" },
  },
};

// Whole numbers that read well: 1, 2, 5 and their tens for counts, powers of two for bytes.
function valueTicks(highest, base) {
  const least = Math.max(1, highest / 4);
  const power = base ** Math.floor(Math.log(least) / Math.log(base) + 1e-9);
  const step = power * (base === 2 ? [1, 2] : [1, 2, 5, 10]).find((factor) => power * factor >= least * 0.999);
  return Array.from({ length: Math.max(1, Math.ceil(highest / step)) + 1 }, (none, index) => index * step);
}

// A bar's numbers, exactly: those of its cells.
function barOf(cube, from, to, rows) {
  const [runs, incomplete, read, written] = ["runs", "incomplete", "read_bytes", "written_bytes"].map((name) => cube.sum(rows, name) ?? 0);
  const bar = { from, to, runs, complete: runs - incomplete, incomplete, read, written };
  return { ...bar, text: `${timeText(from)} to ${timeText(to)}: ${barText(bar)}` };
}

function barText(bar) {
  return `${runsText(bar.runs)}, ${countText(bar.incomplete)} incomplete, ${bytesText(bar.read)} read, ${bytesText(bar.written)} written`;
}

// Stacks the parts of a bar, whose heights need not be exact.
function* partsOf(bar, series) {
  let below = 0;
  for (const [part] of series) {
    const above = below + Number(bar[part]);
    if (above > below) yield { from: bar.from, to: bar.to, part, below, above };
    below = above;
  }
}

// Runs and bytes over time, which share a window and a cursor.
class TimeCharts {
  constructor(root, cube, onWindow) {
    Object.assign(this, { root, cube, onWindow, cursor: null, bars: [] });
    this.readout = root.querySelector(".readout");
    this.table = root.parentElement.querySelector("details table");
    this.buttons = Object.fromEntries([...root.querySelectorAll("button")].map((button) => [button.name, button]));
    const known = cube.at.filter((at) => at !== null);
    const [first, last] = [Math.min(...ends(known)), Math.max(...ends(known)) + cube.width];
    const beside = Math.max(0, Math.floor((FEWEST - (last - first) / cube.width) / 2)) * cube.width;
    this.whole = [first - beside, last + beside];
  }

  async draw() {
    this.root.hidden = false;
    this.panels = PANELS.map((panel) => ({ ...panel, plot: document.getElementById(panel.id) }));
    for (const panel of this.panels) {
      panel.view = await draw(panel.plot, timePanel(panel));
      this.listen(panel);
    }
    this.act();
    new ResizeObserver(() => this.refresh()).observe(this.root);
  }

  // Shows cells within a window, or all of the time.
  show(rows, range) {
    this.rows = rows;
    this.isWhole = range === null;
    this.range = range || this.whole;
    this.cursor = null;
    this.refresh();
  }

  refresh() {
    if (!this.rows) return;
    const span = this.gather();
    const [begin, end] = this.range;
    for (const { view, series, base, plot } of this.panels) {
      const parts = this.bars.flatMap((bar) => [...partsOf(bar, series)]);
      const highest = parts.reduce((most, part) => Math.max(most, part.above), 0);
      view.signal("begin", begin).signal("end", end).signal("ticks", valueTicks(highest, base)).signal("brush_x", []);
      view.data("bars", this.bars).data("parts", parts).data("cursor", []).width(Math.max(100, plot.clientWidth)).run();
    }
    this.root.querySelector(".step").textContent = spanText(span);
    for (const name of ["earlier", "later", "out", "all"]) this.buttons[name].disabled = this.isWhole;
    this.fillTable();
    this.point(this.cursor);
  }

  // The table behind the charts has a row a bar.
  fillTable() {
    const rows = [...this.bars].reverse().map((bar) => {
      const at = timeCell(bar.from);
      at.firstChild.textContent = timeText(bar.from);
      return element("tr", {}, at, ...["runs", "incomplete"].map((name) => numberCell(bar[name])), ...["read", "written"].map((name) => numberCell(bar[name], "bytes")));
    });
    this.table.tBodies[0].replaceChildren(...rows);
  }

  // Sums buckets so that no bar is thinner than a few pixels.
  gather() {
    const [from, to] = this.range;
    const { at, width } = this.cube;
    const most = Math.max(8, (this.root.clientWidth - 80) / BAR_WIDTH);
    const spans = SPANS.filter((each) => each >= width && each % width === 0);
    const span = spans.find((each) => (to - from) / each <= most) ?? spans.at(-1) ?? width;
    const begin = (time) => (span === width ? time : Math.floor((time - MONDAY) / span) * span + MONDAY);
    const groups = this.cube.groups(this.inWindow(), (row) => begin(at[row]));
    this.bars = [...groups].map(([time, rows]) => barOf(this.cube, time, time + span, rows)).sort((a, b) => a.from - b.from);
    return span;
  }

  inWindow() {
    const { at } = this.cube;
    return this.rows.filter((row) => at[row] !== null && at[row] >= this.range[0] && at[row] < this.range[1]);
  }

  // Says in words what the bar under the cursor holds.
  point(index) {
    this.cursor = index;
    const bar = index === null ? null : this.bars[index];
    for (const { view } of this.panels) view.data("cursor", bar ? [bar] : []).run();
    const { text } = bar ?? { text: `${this.isWhole ? "In all" : "In this window"}: ${barText(barOf(this.cube, 0, 0, this.inWindow()))}` };
    this.readout.textContent = `${text}.`;
  }

  // Asks for a window of whole buckets, at least one, within the whole range.
  choose(from, to) {
    const { width } = this.cube;
    const [first, last] = this.whole;
    const round = (at) => first + Math.round((at - first) / width) * width;
    const span = Math.min(Math.max(round(to) - round(from), width), last - first);
    const begin = Math.min(Math.max(round(from), first), last - span);
    this.onWindow(span === last - first ? null : [begin, begin + span]);
  }

  zoom(factor) {
    const [from, to] = this.range;
    const bar = this.cursor === null ? null : this.bars[this.cursor];
    const middle = bar ? (bar.from + bar.to) / 2 : (from + to) / 2;
    const span = (to - from) * factor;
    this.choose(middle - span / 2, middle + span / 2);
  }

  move(fraction) {
    const shift = (this.range[1] - this.range[0]) * fraction;
    this.choose(this.range[0] + shift, this.range[1] + shift);
  }

  act() {
    const acts = { earlier: () => this.move(-0.5), later: () => this.move(0.5), in: () => this.zoom(0.5), out: () => this.zoom(2), all: () => this.onWindow(null) };
    for (const [name, act] of Object.entries(acts)) this.buttons[name].addEventListener("click", act);
  }

  listen({ view, plot }) {
    let dragged = null;
    view.addSignalListener("brush", (name, value) => { dragged = value.from || dragged; });
    window.addEventListener("pointerup", () => {
      if (dragged) this.choose(...dragged.map(Number));
      dragged = null;
    });
    view.addEventListener("pointermove", (event, item) => {
      const index = item && item.datum ? this.bars.findIndex((bar) => bar.from === item.datum.from) : -1;
      if (index !== (this.cursor ?? -1)) this.point(index < 0 ? null : index);
    });
    plot.addEventListener("pointerleave", () => this.cursor !== null && this.point(null));
    plot.addEventListener("keydown", (event) => this.key(event));
  }

  key(event) {
    const last = this.bars.length - 1;
    const at = this.cursor;
    const bar = at === null ? null : this.bars[at];
    const act = {
      ArrowLeft: () => this.point(at === null ? last : Math.max(0, at - 1)),
      ArrowRight: () => this.point(at === null ? 0 : Math.min(last, at + 1)),
      Home: () => this.point(0),
      End: () => this.point(last),
      Enter: () => bar && this.choose(bar.from, bar.to),
      "+": () => this.zoom(0.5),
      "-": () => this.zoom(2),
      Escape: () => this.onWindow(null),
    }[event.key];
    if (!act || event.ctrlKey || event.metaKey || event.altKey || last < 0) return;
    event.preventDefault();
    act();
  }
}

// The least and the greatest number; there may be too many to be arguments.
function ends(numbers) {
  return numbers.reduce(([least, most], number) => [Math.min(least, number), Math.max(most, number)], [Infinity, -Infinity]);
}

// The hours of the week at which runs began.
class WeekChart {
  constructor(root) {
    Object.assign(this, { root, plot: root.querySelector(".plot"), readout: root.querySelector(".readout"), table: root.querySelector("table"), missing: document.getElementById("no-hours") });
  }

  async draw() {
    this.root.hidden = false;
    this.view = await draw(this.plot, WEEK_PANEL);
    this.view.addEventListener("pointermove", (event, item) => this.tell(item && item.datum && item.datum.text));
    this.plot.addEventListener("pointerleave", () => this.tell(null));
  }

  // Shows how many runs began in each of the 168 hours; null where the page does not tell.
  show(counts) {
    this.root.hidden = counts === null;
    this.missing.hidden = counts !== null;
    if (counts === null) return;
    this.view.width(Math.max(100, this.plot.clientWidth));
    const cells = counts.map((runs, index) => {
      const [day, hour] = [WEEKDAYS[Math.floor(index / 24)], index % 24];
      return { day: day.slice(0, 3), hour, runs, text: `${day} ${String(hour).padStart(2, "0")}:00 to ${String(hour + 1).padStart(2, "0")}:00: ${runsText(runs)}` };
    });
    const most = cells.reduce((best, cell) => (cell.runs > best.runs ? cell : best), { runs: 0 });
    this.busiest = most.runs ? `Busiest: ${most.text}.` : "No run with a wall-clock time.";
    this.view.signal("most", Math.max(1, most.runs)).data("cells", cells).run();
    [...this.table.tBodies[0].rows].forEach((row, day) => [...row.cells].slice(1).forEach((cell, hour) => { cell.textContent = countText(counts[day * 24 + hour]); }));
    this.tell(null);
  }

  tell(text) {
    this.readout.textContent = text ? `${text}.` : this.busiest;
  }
}
