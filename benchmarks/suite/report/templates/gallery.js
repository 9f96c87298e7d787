/* Pictures: left and right (or a click) choose the image, up and down (or a click) the method. */
(function () {
  "use strict";
  const names = ["truth", "measurement", "mean", "std"];
  for (const gallery of document.querySelectorAll(".gallery")) {
    const data = JSON.parse(document.getElementById(gallery.dataset.gallery).textContent);
    const tiles = Array.from(gallery.querySelectorAll(".tile"));
    const methods = Array.from(gallery.querySelectorAll(".choices button"));
    const images = Array.from(gallery.querySelectorAll(".thumbs button"));
    const told = gallery.querySelector("output");
    let image = 0;
    let method = methods.findIndex(function (b) { return b.getAttribute("aria-pressed") === "true"; });

    function put(picture, place) {
      const none = place === null || place === undefined;
      picture.hidden = none;
      if (!none && picture.getAttribute("src") !== data.pictures[place]) picture.src = data.pictures[place];
      return none;
    }
    function show() {
      tiles.forEach(function (tile, i) {
        const what = i < 4 ? names[i] : "sample " + (i - 3);
        const place = i < 2 ? data.common[image][i] : data.shown[method][image][i - 2];
        const picture = tile.querySelector("img");
        tile.classList.toggle("empty", put(picture, place));
        picture.alt = what + " of image " + data.images[image] + (i < 2 ? "" : ", " + data.methods[method]);
        const of = tile.querySelector(".of");
        if (of) of.textContent = data.methods[method];
      });
      methods.forEach(function (button, i) {
        button.setAttribute("aria-pressed", String(i === method));
        put(button.querySelector("img"), data.shown[i][image][0]);
        button.querySelector("small").textContent = data.scores[i][image];
      });
      images.forEach(function (button, i) { button.setAttribute("aria-pressed", String(i === image)); });
      told.textContent = "image " + data.images[image] + " (" + (image + 1) + " of " + data.images.length + ")";
    }
    function go(images_on, methods_on) {
      image = (image + images_on + data.images.length) % data.images.length;
      method = (method + methods_on + data.methods.length) % data.methods.length;
      show();
    }
    const keys = { ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, -1], ArrowDown: [0, 1] };
    gallery.addEventListener("keydown", function (event) {
      const step = keys[event.key];
      if (!step || event.altKey || event.ctrlKey || event.metaKey) return;
      event.preventDefault();
      go(step[0], step[1]);
    });
    gallery.querySelector(".previous").addEventListener("click", function () { go(-1, 0); });
    gallery.querySelector(".next").addEventListener("click", function () { go(1, 0); });
    methods.forEach(function (button, i) { button.addEventListener("click", function () { method = i; show(); }); });
    images.forEach(function (button, i) { button.addEventListener("click", function () { image = i; show(); }); });
    show();
  }
})();
