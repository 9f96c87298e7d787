/* Tables sort by a click on a column's head, or Enter or Space on it; what has no figure stays last. */
(function () {
  "use strict";
  function key(cell, target) {
    const text = cell.dataset.value;
    if (text === "") return null;
    const value = Number(text);
    if (Number.isNaN(value)) return text;
    return target === undefined ? value : Math.abs(value - Number(target));
  }
  function compare(a, b, sign) {
    if (a === null || b === null) return (a === null) - (b === null);
    if (typeof a === "string" || typeof b === "string") return sign * String(a).localeCompare(String(b));
    return sign * (a - b);
  }
  for (const table of document.querySelectorAll("table.figures")) {
    const heads = Array.from(table.tHead.rows[0].cells);
    const body = table.tBodies[0];
    heads.forEach(function (head, column) {
      head.querySelector("button").addEventListener("click", function () {
        const now = head.getAttribute("aria-sort");
        const first = head.dataset.first || "ascending";
        const other = first === "ascending" ? "descending" : "ascending";
        const next = now === first ? other : first;
        heads.forEach(function (h) { h.setAttribute("aria-sort", "none"); });
        head.setAttribute("aria-sort", next);
        const sign = next === "ascending" ? 1 : -1;
        const rows = Array.from(body.rows);
        rows.sort(function (a, b) {
          return compare(key(a.cells[column], head.dataset.target), key(b.cells[column], head.dataset.target), sign);
        });
        body.append(...rows);
      });
    });
  }
})();
