// The chart over time: runs above, bytes below, over one axis. It shows a window of time that
// can be dragged, typed or moved by keys, and tells whoever listens when the window changes.

const SVG = "http://www.w3.org/2000/svg";
const MARGIN = { left: 64, right: 12, top: 20, between: 34, bottom: 26 };
const HEIGHTS = [150, 100];
const DAY = 864e5;
const STEPS = [1e3, 5e3, 15e3, 30e3, 6e4, 3e5, 9e5, 18e5, 36e5, 108e5, 216e5, 432e5, DAY, 2 * DAY, 7 * DAY, 14 * DAY];
const SIZES = [1, 2, 3, 4, 6, 8, 12, 24, 48, 72, 168, 336, 720, 2160, 8760]; // buckets a bar
const FEWEST = 12; // buckets across the chart, so that one alone does not fill it
const MONTHS = ["Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"];
const PANELS = [
  { title: "Runs", text: countText, base: 10, series: [["complete", "complete"], ["incomplete", "incomplete"]] },
  { title: "Bytes", text: (size) => bytesText(size).replace(".0 ", " "), base: 2, series: [["read_bytes", "read"], ["written_bytes", "written"]] },
];

function shape(name, attributes, parent, text) {
  const node = document.createElementNS(SVG, name);
  for (const [key, value] of Object.entries(attributes)) node.setAttribute(key, value);
  if (text !== undefined) node.textContent = text;
  if (parent) parent.append(node);
  return node;
}

// Sums buckets so that no bar is thinner than a few pixels.
function gather(data, from, to, most) {
  const size = SIZES.find((count) => (to - from) / data.width <= most * count) || SIZES[SIZES.length - 1];
  const span = size * data.width;
  const sums = new Map();
  data.at.forEach((at, row) => {
    if (at + data.width <= from || at >= to) return;
    const begin = size === 1 ? at : Math.floor(at / span) * span;
    const sum = sums.get(begin) || { from: begin, to: begin + span, runs: 0, complete: 0, incomplete: 0, read_bytes: 0, written_bytes: 0 };
    for (const name of ["runs", "incomplete", "read_bytes", "written_bytes"]) sum[name] += data[name][row];
    sum.complete = sum.runs - sum.incomplete;
    sums.set(begin, sum);
  });
  return { bars: [...sums.values()].sort((a, b) => a.from - b.from), span };
}

// Whole numbers that read well: 1, 2, 5 and their tens for counts, powers of two for bytes.
function valueTicks(highest, base) {
  const least = Math.max(1, highest / 4);
  const power = base ** Math.floor(Math.log(least) / Math.log(base) + 1e-9);
  const step = power * (base === 2 ? [1, 2] : [1, 2, 5, 10]).find((factor) => power * factor >= least * 0.999);
  const count = Math.max(1, Math.ceil(highest / step));
  return Array.from({ length: count + 1 }, (none, index) => index * step);
}

function timeTicks(from, to, most) {
  const step = STEPS.find((size) => (to - from) / size <= most);
  if (!step) return monthTicks(from, to, most);
  const ticks = [];
  for (let at = Math.ceil(from / step) * step; at <= to; at += step) ticks.push([at, tickText(at, step)]);
  return ticks;
}

function monthTicks(from, to, most) {
  const every = [1, 2, 3, 6, 12, 24, 60, 120, 600].find((n) => (to - from) / (n * 30.4 * DAY) <= most) || 1200;
  const ticks = [];
  const first = new Date(from);
  for (let month = Math.ceil((first.getUTCFullYear() * 12 + first.getUTCMonth()) / every) * every; ; month += every) {
    const at = Date.UTC(Math.floor(month / 12), month % 12, 1);
    if (at > to) return ticks;
    if (at >= from) ticks.push([at, `${MONTHS[month % 12]} ${Math.floor(month / 12)}`]);
  }
}

function tickText(at, step) {
  const date = new Date(at);
  const day = `${date.getUTCDate()} ${MONTHS[date.getUTCMonth()]}`;
  if (step >= DAY || at % DAY === 0) return day;
  return date.toISOString().slice(11, step < 6e4 ? 19 : 16);
}

class TimeChart {
  constructor(root, data) {
    this.data = data;
    const [first, last] = [data.at[0], data.at[data.at.length - 1] + data.width];
    const beside = Math.max(0, Math.floor((FEWEST - (last - first) / data.width) / 2)) * data.width;
    this.whole = [first - beside, last + beside];
    this.range = this.whole;
    this.listeners = [];
    this.cursor = null;
    this.plot = root.querySelector(".plot");
    this.readout = root.querySelector(".readout");
    this.step = root.querySelector(".step");
    this.form = root.querySelector("form");
    root.hidden = false;
    this.listen();
    this.draw();
    new ResizeObserver(() => this.draw()).observe(this.plot);
  }

  get isWhole() {
    return this.range[0] === this.whole[0] && this.range[1] === this.whole[1];
  }

  // Shows a window of at least one bucket, within the whole range.
  show(from, to) {
    const [first, last] = this.whole;
    const span = Math.min(Math.max(to - from, this.data.width), last - first);
    const begin = Math.min(Math.max(from, first), last - span);
    this.range = [begin, begin + span];
    this.cursor = null;
    this.draw();
    for (const listener of this.listeners) listener(this.isWhole ? null : this.range);
  }

  // Shows a window whose ends are rounded to whole buckets.
  snap(from, to) {
    const [first] = this.whole;
    const round = (at) => first + Math.round((at - first) / this.data.width) * this.data.width;
    this.show(round(from), round(to));
  }

  zoom(factor) {
    const [from, to] = this.range;
    const bar = this.cursor === null ? null : this.bars[this.cursor];
    const middle = bar ? (bar.from + bar.to) / 2 : (from + to) / 2;
    const span = (to - from) * factor;
    this.snap(middle - span / 2, middle + span / 2);
  }

  move(fraction) {
    const shift = (this.range[1] - this.range[0]) * fraction;
    this.snap(this.range[0] + shift, this.range[1] + shift);
  }

  x(at) {
    return MARGIN.left + ((at - this.range[0]) / (this.range[1] - this.range[0])) * this.inner;
  }

  time(x) {
    return this.range[0] + ((x - MARGIN.left) / this.inner) * (this.range[1] - this.range[0]);
  }

  draw() {
    const width = this.plot.clientWidth;
    if (!width) return;
    this.inner = width - MARGIN.left - MARGIN.right;
    const { bars, span } = gather(this.data, ...this.range, Math.max(8, Math.floor(this.inner / 5)));
    this.bars = bars;
    this.step.textContent = spanText(span);
    this.height = MARGIN.top + HEIGHTS[0] + MARGIN.between + HEIGHTS[1] + MARGIN.bottom;
    const svg = shape("svg", { width, height: this.height, viewBox: `0 0 ${width} ${this.height}`, "aria-hidden": "true", focusable: "false" });
    this.hatch(svg);
    let top = MARGIN.top;
    PANELS.forEach((panel, row) => {
      this.panel(svg, panel, top, HEIGHTS[row]);
      top += HEIGHTS[row] + MARGIN.between;
    });
    this.timeAxis(svg, top - MARGIN.between);
    this.mark = shape("rect", { class: "cursor", y: MARGIN.top - 4, height: this.height - MARGIN.top - MARGIN.bottom + 4, visibility: "hidden" }, svg);
    this.brush = shape("rect", { class: "brush", y: MARGIN.top - 4, height: this.height - MARGIN.top - MARGIN.bottom + 4, visibility: "hidden" }, svg);
    this.plot.replaceChildren(svg);
    this.fillForm();
    this.tell(this.cursor);
  }

  // Stripes, so that incomplete and written bars differ by more than their colour.
  hatch(svg) {
    const defs = shape("defs", {}, svg);
    for (const name of ["incomplete", "written"]) {
      const pattern = shape("pattern", { id: `hatch-${name}`, width: 5, height: 5, patternUnits: "userSpaceOnUse", patternTransform: "rotate(45)" }, defs);
      shape("rect", { class: `fill-${name}`, width: 5, height: 5 }, pattern);
      shape("line", { class: "stripe", x1: 0, y1: 0, x2: 0, y2: 5 }, pattern);
    }
  }

  panel(svg, panel, top, height) {
    const highest = Math.max(0, ...this.bars.map((bar) => panel.series.reduce((sum, [name]) => sum + bar[name], 0)));
    const ticks = valueTicks(highest, panel.base);
    const ceiling = ticks[ticks.length - 1];
    const y = (value) => top + height - (value / ceiling) * height;
    this.valueAxis(svg, panel, y, ticks, top);
    const group = shape("g", { class: "marks" }, svg);
    for (const bar of this.bars) {
      const left = Math.max(this.x(bar.from), MARGIN.left);
      const right = Math.min(this.x(bar.to), MARGIN.left + this.inner);
      const gap = right - left > 3 ? 1 : 0;
      let below = 0;
      for (const [name, label] of panel.series) {
        if (!bar[name]) continue;
        const high = Math.max(1, (bar[name] / ceiling) * height);
        shape("rect", { class: `bar-${label}`, x: left, width: Math.max(1, right - left - gap), y: y(below) - high, height: high }, group);
        below += bar[name];
      }
    }
  }

  valueAxis(svg, panel, y, ticks, top) {
    const group = shape("g", { class: "axis" }, svg);
    for (const value of ticks) {
      shape("line", { class: value ? "grid" : "base", x1: MARGIN.left, x2: MARGIN.left + this.inner, y1: y(value), y2: y(value) }, group);
      shape("text", { x: MARGIN.left - 8, y: y(value), "text-anchor": "end", "dominant-baseline": "central" }, group, panel.text(value));
    }
    this.legend(group, panel, top - 11);
  }

  legend(group, panel, y) {
    let x = MARGIN.left;
    shape("text", { class: "title", x, y, "dominant-baseline": "central" }, group, panel.title);
    x += panel.title.length * 8 + 14;
    for (const [, label] of panel.series) {
      shape("rect", { class: `bar-${label}`, x, y: y - 5, width: 10, height: 10, rx: 2 }, group);
      shape("text", { x: x + 15, y, "dominant-baseline": "central" }, group, label);
      x += label.length * 7 + 34;
    }
  }

  timeAxis(svg, y) {
    const group = shape("g", { class: "axis" }, svg);
    for (const [at, text] of timeTicks(...this.range, Math.max(2, this.inner / 80))) {
      const x = this.x(at);
      shape("line", { class: "base", x1: x, x2: x, y1: y, y2: y + 5 }, group);
      const anchor = x < MARGIN.left + 20 ? "start" : x > MARGIN.left + this.inner - 20 ? "end" : "middle";
      shape("text", { x, y: y + 17, "text-anchor": anchor }, group, text);
    }
  }

  // Says in words what the bar under the cursor holds.
  tell(index) {
    const bar = index === null ? null : this.bars[index];
    if (!bar) {
      this.mark.setAttribute("visibility", "hidden");
      const total = (name) => this.bars.reduce((sum, each) => sum + each[name], 0);
      this.readout.textContent = `${this.isWhole ? "In all" : "In this window"}: ${this.numbers(total)}.`;
      return;
    }
    const left = Math.max(this.x(bar.from), MARGIN.left);
    this.mark.setAttribute("x", left);
    this.mark.setAttribute("width", Math.max(1, Math.min(this.x(bar.to), MARGIN.left + this.inner) - left));
    this.mark.setAttribute("visibility", "visible");
    this.readout.textContent = `${timeText(bar.from)} to ${timeText(bar.to)}: ${this.numbers((name) => bar[name])}.`;
  }

  numbers(of) {
    const runs = of("runs") === 1 ? "1 run" : `${countText(of("runs"))} runs`;
    return `${runs}, ${countText(of("incomplete"))} incomplete, ${bytesText(of("read_bytes"))} read, ${bytesText(of("written_bytes"))} written`;
  }

  fillForm() {
    this.form.elements.from.value = inputText(this.range[0]);
    this.form.elements.to.value = inputText(this.range[1]);
    for (const name of ["earlier", "later", "out", "all"]) this.form.elements[name].disabled = this.isWhole;
  }

  listen() {
    const act = {
      earlier: () => this.move(-0.5),
      later: () => this.move(0.5),
      in: () => this.zoom(0.5),
      out: () => this.zoom(2),
      all: () => this.show(...this.whole),
    };
    for (const [name, action] of Object.entries(act)) this.form.elements[name].addEventListener("click", action);
    this.form.addEventListener("submit", (event) => event.preventDefault());
    this.form.addEventListener("change", () => this.readForm());
    this.plot.addEventListener("keydown", (event) => this.key(event));
    this.plot.addEventListener("pointerdown", (event) => this.press(event));
    this.plot.addEventListener("pointermove", (event) => this.drag(event));
    this.plot.addEventListener("pointerup", (event) => this.release(event));
    this.plot.addEventListener("pointercancel", () => this.forget());
    this.plot.addEventListener("pointerleave", () => this.pressed === undefined && this.point(null));
  }

  readForm() {
    const from = inputTime(this.form.elements.from.value);
    const to = inputTime(this.form.elements.to.value);
    if (from !== null && to !== null && from < to) this.show(from, to);
    else this.fillForm();
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
      Enter: () => bar && this.show(bar.from, bar.to),
      "+": () => this.zoom(0.5),
      "-": () => this.zoom(2),
      Escape: () => this.show(...this.whole),
    }[event.key];
    if (!act || event.ctrlKey || event.metaKey || event.altKey || last < 0) return;
    event.preventDefault();
    act();
  }

  point(index) {
    this.cursor = index;
    this.tell(index);
  }

  place(event) {
    const x = event.clientX - this.plot.getBoundingClientRect().left;
    return Math.min(Math.max(x, MARGIN.left), MARGIN.left + this.inner);
  }

  press(event) {
    if (event.button !== 0) return;
    this.pressed = this.place(event);
    this.plot.setPointerCapture(event.pointerId);
  }

  drag(event) {
    const x = this.place(event);
    if (this.pressed === undefined) {
      const at = this.time(x);
      const under = this.bars.findIndex((bar) => bar.from <= at && at < bar.to);
      this.point(under < 0 ? null : under);
      return;
    }
    this.brush.setAttribute("x", Math.min(x, this.pressed));
    this.brush.setAttribute("width", Math.abs(x - this.pressed));
    this.brush.setAttribute("visibility", "visible");
  }

  release(event) {
    if (this.pressed === undefined) return;
    const ends = [this.pressed, this.place(event)].sort((a, b) => a - b);
    this.forget();
    if (ends[1] - ends[0] > 4) this.snap(...ends.map((x) => this.time(x)));
  }

  forget() {
    this.pressed = undefined;
    this.brush.setAttribute("visibility", "hidden");
  }
}
