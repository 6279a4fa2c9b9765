// Numbers and times as the rest of the page writes them; wall-clock times are milliseconds
// that are read as if they were UTC, so that the browser's own zone plays no part.

const UNITS = ["KiB", "MiB", "GiB", "TiB", "PiB", "EiB"];

function countText(number) {
  return number.toLocaleString("en-US");
}

function bytesText(number) {
  if (Math.abs(number) < 1024) return `${number} B`;
  let size = number;
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
  return new Date(ms).toISOString().slice(0, 19);
}

function inputTime(text) {
  const ms = Date.parse(text + "Z");
  return Number.isNaN(ms) ? null : ms;
}

function spanText(ms) {
  for (const [name, size] of [["day", 864e5], ["hour", 36e5], ["minute", 6e4], ["second", 1e3]]) {
    if (ms % size === 0) return ms === size ? `1 ${name}` : `${ms / size} ${name}s`;
  }
  return `${ms / 1000} seconds`;
}

function element(name, attributes, ...children) {
  const node = document.createElement(name);
  for (const [key, value] of Object.entries(attributes || {})) node.setAttribute(key, value);
  node.append(...children);
  return node;
}

function embedded(id) {
  return JSON.parse(document.getElementById(id).textContent);
}
