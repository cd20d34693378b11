"use strict";
// Scans to look through. All data lies in the page; every text is set as text. Levels of a stored picture are those
// of the root of the counts: counts = (level / per_root) ** 2.
(() => {
  const $ = (id) => document.getElementById(id);
  const stored = (id) => JSON.parse($(id).textContent);
  const all = stored("gallery");
  const small = matchMedia("(max-width: 760px)");
  const look = { white: 0, black: 1, opacity: 75, overlay: true, truth: true, common: false, zoom: false }; // window in shares
  const state = { shown: [], entry: null, scan: null, maps: {}, films: {} };
  const pictures = new Map(); // address -> levels, of the scans looked at last

  // ------------------------------------------------------------------------------------------------ elements
  function make(tag, options = {}, ...inside) {
    const made = Object.assign(document.createElement(tag), options);
    made.append(...inside);
    return made;
  }
  const press = (button, on) => button.setAttribute("aria-pressed", String(on));
  const pressed = (button) => button.getAttribute("aria-pressed") === "true";
  const canvas = (width, height) => make("canvas", { width, height });

  // -------------------------------------------------------------------------------------------------- pixels
  async function levelsOf(src) {
    if (pictures.has(src)) return pictures.get(src);
    const image = new Image();
    image.src = src;
    await image.decode();
    const { naturalWidth: width, naturalHeight: height } = image;
    const context = canvas(width, height).getContext("2d", { willReadFrequently: true });
    context.drawImage(image, 0, 0);
    const rgba = context.getImageData(0, 0, width, height).data;
    const found = { width, height, levels: rgba.filter((_, at) => at % 4 === 0) };
    pictures.set(src, found);
    if (pictures.size > 24) pictures.delete(pictures.keys().next().value);
    return found;
  }

  function paint(target, { width, height, levels }, colour) {
    Object.assign(target, { width, height });
    const context = target.getContext("2d");
    const image = context.createImageData(width, height);
    const pixels = new Uint32Array(image.data.buffer); // bytes in the order A B G R on every browser in use
    for (let at = 0; at < levels.length; at++) pixels[at] = colour[levels[at]];
    context.putImageData(image, 0, 0);
  }

  function greys(perRoot, white, black) { // reversed: counts at `black` and above are black
    return Uint32Array.from({ length: 256 }, (_, level) => {
      const share = ((level / perRoot) ** 2 - white) / Math.max(black - white, 1e-6);
      const grey = Math.round(255 * (1 - Math.min(1, Math.max(0, share))));
      return ((255 << 24) | (grey << 16) | (grey << 8) | grey) >>> 0;
    });
  }

  function heats(factor) { // the weaker, the more of the scan shows through
    return Uint32Array.from({ length: 256 }, (_, level) => {
      const strength = (level / 255) * factor;
      const at = 3 * Math.round(255 * strength);
      const [red, green, blue] = all.colours.slice(at, at + 3);
      return ((Math.round(255 * Math.sqrt(strength)) << 24) | (blue << 16) | (green << 8) | red) >>> 0;
    });
  }

  // ---------------------------------------------------------------------------------------------------- list
  function selected() {
    const wanted = [...$("outcomes").children].filter(pressed).map((button) => button.dataset.outcome);
    const primary = $("primary").value;
    const order = {
      down: (a, b) => b.y_score - a.y_score,
      up: (a, b) => a.y_score - b.y_score,
      near: (a, b) => Math.abs(a.y_score - a.threshold) - Math.abs(b.y_score - b.threshold),
      id: () => 0,
    }[$("sort").value];
    return all.entries
      .filter((one) => one.arm === $("arm").value && wanted.includes(one.outcome) && (!primary || one.primary === primary))
      .sort((a, b) => order(a, b) || (a.id < b.id ? -1 : 1));
  }

  const watcher = new IntersectionObserver((seen) => {
    for (const { target, isIntersecting } of seen) {
      if (!isIntersecting) continue;
      watcher.unobserve(target);
      thumbnail(target);
    }
  }, { rootMargin: "300px" });

  async function thumbnail(target) {
    const scan = stored(`scan-${target.dataset.counts}`);
    const context = target.getContext("2d");
    context.imageSmoothingQuality = "high";
    const full = canvas(1, 1);
    for (const [place, name] of Object.keys(all.views).entries()) {
      const view = scan.views[name];
      if (!view) continue;
      paint(full, await levelsOf(view.src), greys(view.per_root, 0, scan.black));
      context.drawImage(full, place * target.width / 2, 0, target.width / 2, target.height);
    }
  }

  function card(entry) {
    const picture = canvas(208, 416);
    picture.dataset.counts = entry.counts;
    watcher.observe(picture);
    const texts = [make("b", { textContent: entry.id }), make("span", { textContent: `${entry.y_score.toFixed(2)} ${entry.outcome}` }),
      make("span", { textContent: entry.primary })];
    const button = make("button", { type: "button", className: "card", onclick: () => open(entry) }, picture, ...texts);
    Object.assign(button.dataset, { scan: entry.id, outcome: entry.outcome });
    return make("li", {}, button);
  }

  function list() {
    const mine = all.entries.filter((one) => one.arm === $("arm").value);
    for (const button of $("outcomes").children) {
      const many = mine.filter((one) => one.outcome === button.dataset.outcome).length;
      button.textContent = `${button.dataset.outcome} ${many}`;
    }
    state.shown = selected();
    watcher.disconnect();
    $("list").replaceChildren(...state.shown.map(card));
    $("count").textContent = `${state.shown.length} of ${mine.length} scans`;
    $("nothing").hidden = state.shown.length > 0;
    const same = state.entry && state.shown.find((one) => one.id === state.entry.id);
    if (same && !$("stage").hidden) open(same);
    else if (state.shown.length && !small.matches) open(state.shown[0]);
    else close();
  }

  // --------------------------------------------------------------------------------------------------- stage
  function film(name) {
    const [counts, saliency] = [canvas(1, 1), canvas(1, 1)];
    const outline = document.createElementNS("http://www.w3.org/2000/svg", "svg");
    const path = document.createElementNS("http://www.w3.org/2000/svg", "path");
    outline.setAttribute("preserveAspectRatio", "none");
    outline.append(path);
    const { short, sides } = all.views[name];
    const marks = sides.map((side) => make("span", { className: "side", textContent: side }));
    const box = make("div", { className: "film" }, counts, saliency, outline, ...marks);
    const figure = make("figure", {}, make("figcaption", { textContent: short }), box);
    figure.dataset.view = name;
    box.addEventListener("pointermove", (event) => probe(name, event));
    state.films[name] = { figure, box, counts, saliency, outline, path };
    return figure;
  }

  async function open(entry) {
    state.entry = entry;
    state.scan = stored(`scan-${entry.counts}`);
    state.maps = stored(`maps-${entry.maps}`);
    $("stage").hidden = false;
    $("stage").dataset.scan = entry.id;
    document.body.classList.add("reading");
    $("name").textContent = entry.id;
    $("outcome").textContent = entry.outcome;
    $("outcome").dataset.outcome = entry.outcome;
    $("scored").textContent = `score ${entry.y_score.toFixed(2)}, threshold ${entry.threshold.toFixed(2)}`;
    $("label").textContent = `${entry.y_true ? "metastasis" : "no metastasis"} · ${entry.primary}`;
    $("known").textContent = state.scan.known ? "" : "no truth known";
    $("truth").disabled = !state.scan.known;
    for (const slider of [$("white"), $("black")]) slider.max = Math.max(2, state.scan.highest);
    $("white").value = look.white * state.scan.black;
    $("black").value = look.black * state.scan.black;
    for (const one of $("list").querySelectorAll(".card")) {
      one.setAttribute("aria-current", String(one.dataset.scan === entry.id));
      if (one.dataset.scan === entry.id && !small.matches) one.scrollIntoView({ block: "nearest" });
    }
    fit();
    await draw();
  }

  function close() {
    $("stage").hidden = true;
    document.body.classList.remove("reading");
  }

  function fit() { // both views as large as there is room, pixels in their true shape
    if ($("stage").hidden) return;
    const names = Object.keys(state.scan.views);
    const { clientWidth, clientHeight } = $("films");
    for (const [name, { figure, box }] of Object.entries(state.films)) {
      const view = state.scan.views[name];
      figure.hidden = !view;
      if (!view) continue;
      const aspect = (view.rows * state.scan.stretch) / view.columns;
      const widest = (clientWidth - 16 * (names.length - 1)) / names.length;
      const tallest = small.matches || look.zoom ? Infinity : clientHeight - 24;
      const width = Math.floor(Math.min(widest, tallest / aspect));
      Object.assign(box.style, { width: `${width}px`, height: `${Math.round(width * aspect)}px` });
    }
  }

  async function draw() {
    const { entry, scan, maps } = state;
    const method = $("method").value;
    const raw = entry.raw_max[method];
    const tops = all.entries.filter((one) => one.arm === entry.arm).map((one) => one.raw_max[method] || 0);
    const factor = look.common ? (raw || 0) / (Math.max(...tops) || 1) : 1;
    const [white, black] = [Number($("white").value), Number($("black").value)];
    $("levels").textContent = `${white} to ${black} counts`;
    $("raw").textContent = raw === undefined ? "no map of this scan" : raw > 0 ? `maximum ${raw.toFixed(2)} logits` : "empty map";
    for (const [name, view] of Object.entries(scan.views)) {
      const { counts, saliency, outline, path } = state.films[name];
      const picture = await levelsOf(view.src);
      const src = maps[method] && maps[method][name];
      const heat = src && await levelsOf(src);
      if (state.entry !== entry) return; // another scan was opened meanwhile
      paint(counts, picture, greys(view.per_root, white, black));
      if (heat) paint(saliency, heat, heats(factor));
      saliency.hidden = !heat || !look.overlay;
      saliency.style.opacity = look.opacity / 100;
      outline.setAttribute("viewBox", `0 0 ${view.columns} ${view.rows}`);
      path.setAttribute("d", view.truth);
      outline.toggleAttribute("hidden", !look.truth || !scan.known);
    }
  }

  async function probe(name, event) {
    const view = state.scan.views[name];
    const { levels } = await levelsOf(view.src);
    const box = state.films[name].box.getBoundingClientRect();
    const column = Math.floor(((event.clientX - box.left) / box.width) * view.columns);
    const row = Math.floor(((event.clientY - box.top) / box.height) * view.rows);
    const level = levels[row * view.columns + column];
    if (level === undefined || column < 0 || column >= view.columns) return;
    $("probe").textContent = `${name}, row ${row}, column ${column}: about ${Math.round((level / view.per_root) ** 2)} counts`;
  }

  // ------------------------------------------------------------------------------------------------- actions
  function step(by, outcome) {
    const many = state.shown.length;
    const here = state.shown.indexOf(state.entry);
    for (let place = 1; place <= many; place++) {
      const there = state.shown[(((here + by * place) % many) + many) % many];
      if (!outcome || there.outcome === outcome) return open(there);
    }
  }
  function toggle(name) {
    look[name] = !look[name];
    press($(name), look[name]);
    fit();
    draw();
  }
  function cycle(id) {
    const choice = $(id);
    choice.selectedIndex = (choice.selectedIndex + 1) % choice.length;
    choice.dispatchEvent(new Event("change"));
  }
  function windowTo(white, black, moved) { // the slider that was not moved makes way
    if (white >= black && moved === "white") black = white + 1;
    if (white >= black && moved === "black") white = Math.max(0, black - 1);
    $("white").value = white;
    $("black").value = black;
    look.white = $("white").value / state.scan.black;
    look.black = $("black").value / state.scan.black;
    draw();
  }
  function darken(factor) {
    const now = Number($("black").value);
    const next = Math.round(now * factor);
    windowTo(Number($("white").value), next === now ? now + Math.sign(factor - 1) : next, "black");
  }
  function opacityTo(value) {
    $("opacity").value = value;
    look.opacity = Number($("opacity").value);
    draw();
  }

  const keys = {
    j: () => step(1), ArrowRight: () => step(1), ArrowDown: () => step(1),
    k: () => step(-1), ArrowLeft: () => step(-1), ArrowUp: () => step(-1),
    o: () => toggle("overlay"), t: () => toggle("truth"), c: () => toggle("common"),
    z: () => toggle("zoom"), s: () => cycle("method"), a: () => cycle("arm"),
    "[": () => darken(0.9), "]": () => darken(1 / 0.9), w: () => windowTo(0, state.scan.black),
    "-": () => opacityTo(look.opacity - 10), "+": () => opacityTo(look.opacity + 10), "=": () => opacityTo(look.opacity + 10),
    Escape: () => small.matches && close(), "?": () => $("help").showModal(),
  };
  all.outcomes.forEach((outcome, place) => { keys[place + 1] = () => step(1, outcome); });

  document.addEventListener("keydown", (event) => {
    const own = event.target.matches("select, input") && (event.key.startsWith("Arrow") || event.target.matches("select"));
    if (own || event.ctrlKey || event.altKey || event.metaKey || $("help").open || !Object.hasOwn(keys, event.key)) return;
    if ($("stage").hidden && event.key !== "?") {
      if (state.shown.length && ["j", "ArrowRight"].includes(event.key)) open(state.shown[0]);
      return;
    }
    event.preventDefault();
    keys[event.key]();
  });

  // --------------------------------------------------------------------------------------------------- start
  const option = (value, text) => make("option", { value, textContent: text });
  for (const [arm, text] of Object.entries(all.arms)) $("arm").append(option(arm, text));
  for (const method of all.methods) $("method").append(option(method, method));
  const primaries = [...new Set(all.entries.map((one) => one.primary))].sort();
  $("primary").append(option("", "all"), ...primaries.map((primary) => option(primary, primary)));
  for (const outcome of all.outcomes) {
    const button = make("button", { type: "button", onclick: () => { press(button, !pressed(button)); list(); } });
    button.dataset.outcome = outcome;
    press(button, true);
    $("outcomes").append(button);
  }
  $("films").append(...Object.keys(all.views).map(film));
  for (const id of ["arm", "primary", "sort"]) $(id).addEventListener("change", list);
  $("method").addEventListener("change", draw);
  for (const id of ["overlay", "truth", "common", "zoom"]) $(id).addEventListener("click", () => toggle(id));
  for (const id of ["white", "black"]) $(id).addEventListener("input", () => windowTo(Number($("white").value), Number($("black").value), id));
  $("reset").addEventListener("click", () => windowTo(0, state.scan.black));
  $("opacity").addEventListener("input", () => opacityTo($("opacity").value));
  $("previous").addEventListener("click", () => step(-1));
  $("next").addEventListener("click", () => step(1));
  $("close").addEventListener("click", close);
  $("ask").addEventListener("click", () => $("help").showModal());
  addEventListener("resize", fit);
  list();
})();
