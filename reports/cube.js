// The counts that the page carries: a cell for each bucket of time and combination of names.
// Whatever the filters leave is summed up from them.

const MONDAY = 4 * DAY; // at midnight, the first one of the clock
const OTHER = "\n"; // stands for all names that have no cells of their own
const DISTINCT = { hosts: "host", owners: "owner", programs: "comm", files: "file" };

// What nothing is known of adds nothing; of what is unknown throughout the sum is, too.
function plus(a, b) {
  if (a === null) return b;
  return b === null ? a : a + b;
}

class Cube {
  constructor(data) {
    Object.assign(this, data);
    for (const name of data.large) this.measures[name] = this.measures[name].map((text) => (text === null ? null : BigInt(text)));
    this.count = this.measures.runs.length;
  }

  has(...names) {
    return names.every((name) => name in this.names);
  }

  value(name, row) {
    return textAt(this.names[name], row);
  }

  // Says whether all that is chosen has cells of its own.
  knows(chosen) {
    return [...chosen].every(([name, value]) => this.has(name) && (value === null || this.names[name].values.includes(value)));
  }

  // Gives the hour of the week of a cell, counted from Monday's midnight; null without a time.
  hourOfWeek(row) {
    return this.at[row] === null ? null : Math.floor((this.at[row] - MONDAY) / HOUR) % 168;
  }

  // Gives the cells of runs that have the chosen names and began within the window.
  rows(chosen, range) {
    const codes = [...chosen].map(([name, value]) => [this.names[name].codes, this.names[name].values.indexOf(value)]);
    const kept = [];
    for (let row = 0; row < this.count; row += 1) {
      const at = this.at[row];
      if (range && (at === null || at < range[0] || at >= range[1])) continue;
      if (codes.every(([column, code]) => column[row] === code)) kept.push(row);
    }
    return kept;
  }

  // Gives the cells of each group that `keyOf` tells apart.
  groups(rows, keyOf) {
    const groups = new Map();
    for (const row of rows) {
      const key = keyOf(row);
      if (!groups.has(key)) groups.set(key, []);
      groups.get(key).push(row);
    }
    return groups;
  }

  sum(rows, name) {
    const column = this.measures[name];
    return rows.reduce((sum, row) => plus(sum, column[row]), null);
  }

  // Counts the names in cells; null where some of them are not told apart.
  distinct(rows, name) {
    if (!this.has(name)) return null;
    const { codes, values } = this.names[name];
    const found = new Set(rows.map((row) => codes[row]));
    found.delete(-1);
    return found.has(values.indexOf(OTHER)) ? null : found.size;
  }

  // Gives the last time in cells, as a clock on the wall showed it.
  last(rows) {
    return rows.reduce((last, row) => (this.last_s[row] === null ? last : Math.max(last, this.at[row] + this.last_s[row] * 1000)), -Infinity);
  }

  // Gives a column of a table for the runs of cells; undefined where the cells do not tell.
  measure(rows, name) {
    if (name in this.measures) return this.sum(rows, name);
    if (name in DISTINCT) return this.distinct(rows, DISTINCT[name]) ?? undefined;
    if (name === "last_seen") return this.last(rows);
    return undefined;
  }
}
