// Follows the store: what is new is shown where the reader was, once nobody is busy with the page.

const KEPT = "logtrace-live";
const REST_MS = 4000;
const REST_IN_FIELD_MS = 20000;
const RETRY_MS = 5000;
const MOST_STEPS = 200;

const each = (selector) => [...document.querySelectorAll(selector)];
const fieldKey = (field) => [field.getAttribute("aria-controls"), field.form && field.form.id, field.name, field.type].join("|");
const fieldText = (field) => (field.type === "select-one" ? field.selectedOptions[0]?.text ?? "" : field.value);
const sorting = () => each("th[aria-sort]").map((th) => [each("table").indexOf(th.closest("table")), th.cellIndex, th.getAttribute("aria-sort")]);
const pageNumbers = () => each(".dt-container").map((box) => box.querySelector(".dt-paging-button.current")?.textContent ?? "");

// What was chosen in a table and is in no field.
function picked() {
  const fields = new Set(each("select").map((field) => field.name));
  const chips = each(".chips .clip").map((chip) => chip.textContent);
  const picks = each("button.pick").map(({ dataset }) => [dataset.column, dataset.value]);
  const inForce = picks.filter(([column, value]) => !fields.has(column) && chips.some((text) => text.endsWith(`: ${value}`)));
  return [...new Map(inForce)];
}

function present() {
  return {
    picked: picked(),
    fields: each("input, select").map((field) => [fieldKey(field), fieldText(field)]),
    sorting: sorting(),
    pages: pageNumbers(),
    open: each("details").map((details) => details.open),
    scrolled: [[window.scrollX, window.scrollY], ...each(".scroll").map((box) => [box.scrollLeft, box.scrollTop])],
    focus: document.activeElement.matches("input, select") ? fieldKey(document.activeElement) : null,
  };
}

// The fields that somebody has changed: what was never touched is to follow the new contents.
function kept(first) {
  const state = present();
  const before = new Map(first.fields);
  state.fields = state.fields.filter(([key, text]) => before.get(key) !== text);
  return state;
}

function fill(field, text) {
  if (field.type === "select-one") {
    const option = [...field.options].find((one) => one.text === text);
    if (!option) return; // what was chosen is no more
    field.value = option.value;
  } else {
    field.value = text;
    field.dispatchEvent(new Event("input", { bubbles: true }));
  }
  field.dispatchEvent(new Event("change", { bubbles: true }));
}

// Tables answer a click a moment later.
const settled = () => new Promise((resolve) => { setTimeout(resolve, 20); });

async function sortAgain([table, cell, direction]) {
  const heading = each("table")[table]?.tHead?.rows[0].cells[cell];
  const button = heading?.querySelector(".dt-column-order");
  for (let step = 0; button && step < 3 && heading.getAttribute("aria-sort") !== direction; step += 1) {
    button.click();
    await settled();
  }
}

async function turnTo(number, box) {
  const buttons = () => [...(each(".dt-container")[box]?.querySelectorAll(".dt-paging-button") ?? [])];
  const current = () => buttons().find((one) => one.matches(".current"))?.textContent;
  for (let step = 0; number && step < MOST_STEPS && current() !== number; step += 1) {
    const there = buttons().find((one) => one.textContent === number) ?? buttons().find((one) => one.matches(".next:not(.disabled)"));
    if (!there) return;
    there.click();
    await settled();
  }
}

async function restore(state) {
  const wanted = new Map(state.fields);
  for (const field of each("input:enabled, select:enabled")) if (wanted.has(fieldKey(field))) fill(field, wanted.get(fieldKey(field)));
  for (const [column, value] of state.picked) {
    each("button.pick").find(({ dataset }) => dataset.column === column && dataset.value === value)?.click();
  }
  await settled();
  for (const one of state.sorting) await sortAgain(one);
  for (const [box, number] of state.pages.entries()) await turnTo(number, box);
  each("details").forEach((details, index) => { details.open = state.open[index] ?? details.open; });
  document.activeElement.blur();
  const focused = each("input, select").find((field) => fieldKey(field) === state.focus);
  if (focused) focused.focus({ preventScroll: true });
  const [[x, y], ...boxes] = state.scrolled;
  each(".scroll").forEach((box, index) => box.scrollTo(...(boxes[index] ?? [0, 0])));
  window.scrollTo({ left: x, top: y, behavior: "instant" });
}

function whenAlive(then) {
  if (document.documentElement.dataset.ready) then();
  else requestAnimationFrame(() => whenAlive(then));
}

class Follower {
  constructor() {
    this.first = present();
    this.news = null;
    this.touched = -Infinity;
    this.text = document.createElement("span");
    this.text.setAttribute("role", "status");
    this.button = Object.assign(document.createElement("button"), { type: "button", textContent: "Show", hidden: true });
    this.button.addEventListener("click", () => this.show());
    this.notice = Object.assign(document.createElement("aside"), { className: "live" });
    this.notice.setAttribute("aria-label", "News");
    this.notice.append(this.text, this.button);
    document.body.append(this.notice);
    for (const kind of ["pointerdown", "pointermove", "keydown", "wheel", "touchmove"]) {
      addEventListener(kind, () => { this.touched = performance.now(); }, { passive: true, capture: true });
    }
    document.addEventListener("visibilitychange", () => (document.hidden ? this.leave() : this.listen()));
    setInterval(() => this.consider(), 500);
    this.say("Live");
    if (!document.hidden) this.listen();
  }

  // A browser opens few connections to a server: a page that nobody sees takes none.
  leave() {
    clearTimeout(this.again);
    if (this.source) this.source.close();
    this.source = null;
  }

  listen() {
    this.leave();
    this.source = new EventSource("events");
    this.source.onmessage = (event) => this.told(JSON.parse(event.data));
    this.source.onerror = () => {
      this.say("Not connected: this is how it was", true);
      if (this.source && this.source.readyState === EventSource.CLOSED) this.again = setTimeout(() => this.listen(), RETRY_MS);
    };
  }

  told(state) {
    this.news = state.version && state.version !== SEEN.version ? state : null;
    if (state.trouble) this.say(state.trouble, true);
    else if (!this.news) this.say("Live");
    this.consider();
  }

  get busy() {
    const rest = document.activeElement.matches("input, select") ? REST_IN_FIELD_MS : REST_MS;
    return performance.now() - this.touched < rest || !getSelection().isCollapsed;
  }

  consider() {
    if (!this.news) return;
    if (!this.busy) { this.show(); return; }
    const more = this.news.runs - SEEN.runs;
    this.say(more > 0 ? `${more.toLocaleString("en")} new run${more === 1 ? "" : "s"}` : "There is something new");
    this.button.hidden = false;
  }

  show() {
    this.news = null;
    history.scrollRestoration = "manual"; // the page is too short for the browser when it begins
    sessionStorage.setItem(KEPT, JSON.stringify(kept(this.first)));
    location.reload();
  }

  say(text, lost = false) {
    if (this.text.textContent !== text) this.text.textContent = text;
    this.notice.classList.toggle("lost", lost);
  }
}

whenAlive(async () => {
  new Follower(); // before what was kept is restored: it notes what the fields are like untouched
  const state = sessionStorage.getItem(KEPT);
  sessionStorage.removeItem(KEPT);
  if (state) await restore(JSON.parse(state));
  history.scrollRestoration = "auto";
  document.documentElement.dataset.live = SEEN.version;
});
