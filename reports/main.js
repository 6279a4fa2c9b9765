// Brings the page to life. Everything but the chart and the table of runs stands without it.

const PAGE_OF_ROWS = 10;

function enhance(table) {
  const long = table.tBodies[0].rows.length > PAGE_OF_ROWS;
  new DataTable(table, {
    order: [],
    autoWidth: false,
    paging: long,
    searching: long,
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

for (const table of document.querySelectorAll("table.sortable")) enhance(table);

const runsTable = document.getElementById("runs-table");
const runs = runsTable && new RunTable(runsTable, embedded("runs-data"));
const chartRoot = document.getElementById("chart");
const chart = chartRoot && new TimeChart(chartRoot, embedded("timeline-data"));

if (runs && chart) {
  chart.listeners.push((range) => runs.within(range));
  runs.onWindowRemoved = () => chart.show(...chart.whole);
}

document.addEventListener("click", (event) => {
  const pick = event.target.closest("button.pick");
  if (!pick || !runs) return;
  runs.choose(pick.dataset.column, pick.dataset.value);
  const heading = document.getElementById("runs");
  heading.setAttribute("tabindex", "-1");
  heading.focus({ preventScroll: true });
  heading.scrollIntoView();
});
