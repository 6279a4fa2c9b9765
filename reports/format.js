// Numbers and times as the rest of the page writes them; wall-clock times are milliseconds
// that are read as if they were UTC, so that the browser's own zone plays no part. A number
// beyond what JavaScript's own hold exactly is a BigInt.

const UNITS = ["KiB", "MiB", "GiB", "TiB", "PiB", "EiB"];
const WEEKDAYS = ["Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday", "Sunday"];
const HOUR = 36e5;
const DAY = 24 * HOUR;

function countText(number) {
  return number.toLocaleString("en-US");
}

function bytesText(number) {
  let size = Number(number);
  if (Math.abs(size) < 1024) return `${size} B`;
  let steps = 0;
  while (Math.abs(size) >= 1023.95 && steps < UNITS.length) {
    size /= 1024;
    steps += 1;
  }
  return `${size.toFixed(1)} ${UNITS[steps - 1]}`;
}

function tookText(us) {
  if (Math.abs(us) < 1000) return `${us} µs`;
  if (Math.abs(us) < 1e6) return `${(us / 1e3).toFixed(1)} ms`;
  if (Math.abs(us) < 6e7) return `${(us / 1e6).toFixed(3)} s`;
  const seconds = Math.floor(us / 1e6);
  const minutes = Math.floor(seconds / 60);
  if (minutes < 60) return `${minutes} min ${seconds % 60} s`;
  return `${Math.floor(minutes / 60)} h ${minutes % 60} min`;
}

function timeText(ms) {
  return new Date(ms).toISOString().slice(0, 19).replace("T", " ");
}

// The value of a datetime-local input, and back.
function inputText(ms) {
  return new Date(ms).toISOString().slice(0, 16);
}

function inputTime(text) {
  const ms = Date.parse(text + "Z");
  return Number.isNaN(ms) ? null : ms;
}

function spanText(ms) {
  for (const [name, size] of [["day", DAY], ["hour", HOUR], ["minute", 6e4], ["second", 1e3]]) {
    if (ms % size === 0) return ms === size ? `1 ${name}` : `${ms / size} ${name}s`;
  }
  return `${ms / 1000} seconds`;
}

function runsText(count) {
  return `${countText(count)} ${Number(count) === 1 ? "run" : "runs"}`;
}

function element(name, attributes, ...children) {
  const node = document.createElement(name);
  for (const [key, value] of Object.entries(attributes || {})) node.setAttribute(key, value);
  node.append(...children);
  return node;
}
