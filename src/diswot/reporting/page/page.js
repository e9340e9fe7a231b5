"use strict";
for (const table of document.querySelectorAll("table.sortable")) {
  const heads = [...table.tHead.rows[0].cells];
  const body = table.tBodies[0];
  heads.forEach((head, column) => {
    head.querySelector("button").addEventListener("click", () => {
      const up = head.getAttribute("aria-sort") !== "ascending";
      for (const other of heads) other.removeAttribute("aria-sort");
      head.setAttribute("aria-sort", up ? "ascending" : "descending");
      const rows = [...body.rows].map((row) => [row, row.cells[column].dataset.sort]);
      const known = rows.filter(([, value]) => value !== undefined);
      const numbers = known.every(([, value]) => value !== "" && !Number.isNaN(Number(value)));
      const compare = numbers ? (a, b) => a - b : (a, b) => a.localeCompare(b, "en", { numeric: true });
      known.sort(([, a], [, b]) => (up ? compare(a, b) : compare(b, a)));
      const empty = rows.filter(([, value]) => value === undefined);
      body.append(...[...known, ...empty].map(([row]) => row));
    });
  });
}
addEventListener("beforeprint", () => {
  for (const details of document.querySelectorAll("details.print")) details.open = true;
});
