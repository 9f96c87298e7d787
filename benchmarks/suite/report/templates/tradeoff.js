/* The metric of the plots of quality against cost. All plots are of one size, so nothing moves. */
(function () {
  "use strict";
  for (const block of document.querySelectorAll(".tradeoffs")) {
    const figures = block.querySelectorAll("figure");
    block.querySelector("select").addEventListener("change", function (event) {
      figures.forEach(function (figure, i) { figure.hidden = i !== Number(event.target.value); });
    });
  }
})();
