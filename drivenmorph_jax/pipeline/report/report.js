// The page: what is chosen, what is drawn, what is said.

const FLICKER_MS = 600;
const NAMES = { fixed: "fixed", warped: "warped", moving: "moving, affine only" };
const OVERLAYS = {
  jacobian: "Jacobian determinant: volume in the moving image per volume in the fixed one, no unit, log scale",
  displacement: "length of the displacement, mm",
  force: "size of the driving force, feature² per mm",
};
const $ = (id) => document.getElementById(id);
const format = (value) => (value === 0 ? "0" : Number(value.toPrecision(3)).toString());

async function start() {
  const data = JSON.parse($("data").textContent);
  const volumes = await unpackAll(data.volumes);
  const form = $("controls");
  const state = { place: data.start, swapped: false };
  const views = PLANES.map((plane) => addView(plane));
  const gridMm = latticeStep(data, GRID_LINES);
  const arrowMm = latticeStep(data, ARROWS);
  let planned = false;

  function addView(plane) {
    const figure = $("view").content.cloneNode(true).firstElementChild;
    const [canvas, slider] = [figure.querySelector("canvas"), figure.querySelector("input")];
    const view = makeView(plane, canvas, data);
    view.slider = slider;
    view.caption = figure.querySelector(".slice");
    slider.max = view.count - 1;
    // All three at one scale: widths in proportion to mm.
    const mm = view.size.map((size, n) => size * view.step[n]);
    figure.style.flex = `${mm[0]} 1 0`;
    canvas.style.aspectRatio = `${mm[0]} / ${mm[1]}`;
    slider.addEventListener("input", () => move(view.axis, Number(slider.value)));
    const follow = (event) => {
      const [x, y] = view.voxelUnder(event);
      state.place = view.place(x, y, state.place[view.axis]);
      redraw();
    };
    canvas.addEventListener("pointerdown", follow);
    canvas.addEventListener("pointermove", (event) => event.buttons === 1 && follow(event));
    canvas.addEventListener("keydown", (event) => steer(event, view));
    new ResizeObserver(redraw).observe(canvas);
    $("views").append(figure);
    return view;
  }

  function move(axis, place) {
    state.place[axis] = Math.max(0, Math.min(data.shape[axis] - 1, place));
    redraw();
  }

  function steer(event, view) {
    const right = view.flipped ? -1 : 1;
    const steps = {
      ArrowLeft: [view.across, -right], ArrowRight: [view.across, right],
      ArrowDown: [view.up, -1], ArrowUp: [view.up, 1],
      PageDown: [view.axis, -1], PageUp: [view.axis, 1],
    };
    if (!(event.key in steps)) return;
    event.preventDefault();
    const [axis, by] = steps[event.key];
    move(axis, state.place[axis] + by);
  }

  function redraw() {
    if (planned) return;
    planned = true;
    requestAnimationFrame(() => {
      planned = false;
      readControls();
      views.forEach(drawView);
      describe();
    });
  }

  function readControls() {
    const { show, against, overlay, blend, opacity } = Object.fromEntries(new FormData(form));
    Object.assign(state, { show, against, overlay, blend: blend / 100, opacity: opacity / 100 });
    for (const name of ["grid", "force_arrows", "motion_arrows", "radiological"]) state[name] = form[name].checked;
  }

  function drawView(view) {
    const { canvas } = view;
    const slice = state.place[view.axis];
    view.flipped = state.radiological && view.across === 0;
    const [width, height] = [canvas.clientWidth, canvas.clientHeight].map((n) => Math.max(1, Math.round(n * devicePixelRatio)));
    if (canvas.width !== width || canvas.height !== height) [canvas.width, canvas.height] = [width, height];
    paint(view, state, volumes, data.scales);
    if (state.grid) drawGrid(view, slice, volumes.displacement, gridMm);
    for (const [on, name, colour] of [
      [state.motion_arrows, "displacement", INK.motion],
      [state.force_arrows, "force", INK.force],
    ]) if (on) drawArrows(view, slice, volumes[name], volumes.fixed, arrowMm, data.scales[name].long, colour);
    drawCross(view, state.place);
    drawEnds(view);
    view.slider.value = slice;
    view.caption.textContent = `${view.name}, slice ${slice + 1} of ${view.count}`;
    const [left, right] = view.flipped ? [1, 0] : [0, 1];
    canvas.setAttribute("aria-label", `${view.caption.textContent}; ${view.ends[left]} on the left, ${view.ends[right]} on the right`);
  }

  function describe() {
    $("sides").textContent = state.radiological
      ? "Radiological: in axial and coronal views the patient's left (L) is on the right. Sagittal: anterior on the right."
      : "Neurological: in axial and coronal views the patient's left (L) is on the left. Sagittal: anterior on the right.";
    $("showing").textContent = `Image: ${showing()}.`;
    describeLines();
    describeOverlay();
    const { place } = state;
    const vector = (parts) => ["R", "A", "S"].map((axis, n) => `${axis} ${format(parts[n])}`).join(", ");
    fill($("readout"), [
      ["voxel (R, A, S), from 1", place.map((at) => at + 1).join(", ")],
      ...Object.entries(NAMES).map(([key, name]) => [name, format(volumes[key].at(place))]),
      ["Jacobian determinant", volumes.jacobian.codeAt(place) === 0 ? "≤ 0, folded" : format(volumes.jacobian.at(place))],
      ["displacement, mm", `${format(volumes.displacement.lengthAt(place))} (${vector(volumes.displacement.at(place))})`],
      ["force, feature² / mm", `${format(volumes.force.lengthAt(place))} (${vector(volumes.force.at(place))})`],
    ]);
    fill($("agreement").tBodies[0], [
      ...views.map((view) => [view.caption.textContent, ...said(data.agreement.slices[view.axis][place[view.axis]])]),
      ["whole brain", ...said(data.agreement.brain)],
    ]);
  }

  function showing() {
    const both = `fixed and ${NAMES[state.against]}`;
    if (state.show === "flicker") return `${NAMES[state.swapped ? state.against : "fixed"]} (flickering between ${both})`;
    if (state.show === "blend") return `${both}, blended`;
    return state.show === "checkerboard" ? `${both}, squares of ${CHECKER_MM} mm` : NAMES[state.show];
  }

  function describeLines() {
    $("grid-key").hidden = !state.grid;
    $("grid-key").textContent = `Grid: lines of the fixed image every ${format(gridMm)} mm, where the map takes them.`;
    const pxPerMm = views[0].canvas.clientWidth / (views[0].size[0] * views[0].step[0]);
    for (const [id, on, text] of [
      ["force-key", state.force_arrows, `force, ${format(data.scales.force.long)} feature² per mm`],
      ["motion-key", state.motion_arrows, `displacement, ${format(data.scales.displacement.long)} mm`],
    ]) {
      $(id).hidden = !on;
      $(id).querySelector("i").style.width = `${ARROW_SPAN * arrowMm * pxPerMm}px`;
      $(id).querySelector("span").textContent = text;
    }
  }

  function describeOverlay() {
    const bar = $("bar");
    bar.hidden = state.overlay === "none";
    if (bar.hidden) return;
    bar.querySelector("p").textContent = OVERLAYS[state.overlay];
    const context = bar.querySelector("canvas").getContext("2d");
    COLOURS[state.overlay].forEach((colour, n) => {
      context.fillStyle = `rgb(${colour})`;
      context.fillRect(n, 0, 1, 1);
    });
    const top = state.overlay === "jacobian" ? volumes.jacobian.top : data.scales[state.overlay].top;
    const ticks = state.overlay === "jacobian"
      ? [-1, -0.5, 0, 0.5, 1].map((share) => format(2 ** (share * top)))
      : [0, 0.25, 0.5, 0.75, 1].map((share) => format(share * top));
    ticks[4] = `≥ ${ticks[4]}`;
    if (state.overlay === "jacobian") ticks[0] = `≤ ${ticks[0]}`;
    bar.querySelector(".ticks").replaceChildren(...ticks.map((tick) => element("span", tick)));
    if (state.overlay === "jacobian") bar.querySelector("p").append("; folded (0 and below) in magenta");
  }

  form.addEventListener("input", redraw);
  document.addEventListener("keydown", (event) => {
    if (event.ctrlKey || event.metaKey || event.altKey || event.target.matches("select")) return;
    const key = event.key.toLowerCase();
    const modes = { f: "flicker", c: "checkerboard", b: "blend" };
    const boxes = { g: "grid", a: "force_arrows", d: "motion_arrows" };
    if (key in modes) form.show.value = form.show.value === modes[key] ? "fixed" : modes[key];
    else if (key === "x") form.show.value = form.show.value === "fixed" ? form.against.value : "fixed";
    else if (key in boxes) form[boxes[key]].checked = !form[boxes[key]].checked;
    else return;
    redraw();
  });
  setInterval(() => {
    if (form.show.value !== "flicker") return;
    state.swapped = !state.swapped;
    redraw();
  }, FLICKER_MS);
  redraw();
}

// A mean cosine and a correlation; null where there is too little brain.
function said(agreement) {
  return agreement.map((value) => (value === null ? "–" : value.toFixed(2)));
}

function fill(body, rows) {
  body.replaceChildren(...rows.map(([name, ...values]) => {
    const row = element("tr", "");
    const head = element("th", name);
    head.scope = "row";
    row.append(head, ...values.map((value) => element("td", value)));
    return row;
  }));
}

function element(tag, text) {
  const made = document.createElement(tag);
  made.textContent = text;
  return made;
}

start().catch((error) => {
  $("trouble").hidden = false;
  $("trouble").textContent = `The views could not be drawn (${error}). They need a browser of 2023 or later.`;
  throw error;
});
