// Lines over a slice: grid, arrows, crosshair, the letters of its sides.

const INK = { grid: "#7ee081", force: "#ff8c42", motion: "#4cc3ff", cross: "#ffe066" };
const GRID_LINES = 30;
const ARROWS = 26;
// A long arrow spans so many steps of the lattice on which they stand.
const ARROW_SPAN = 1.5;

// A round number of mm that divides the longest side of the grid into so many.
function latticeStep({ shape, spacing }, count) {
  const longest = Math.max(...shape.map((size, axis) => size * spacing[axis]));
  const coarsest = Math.max(...spacing);
  return Math.max(1, Math.round(longest / count / coarsest)) * coarsest;
}

function lattice(count, step) {
  const every = Math.max(1, Math.round(step));
  const places = [];
  for (let at = Math.floor(every / 2); at < count; at += every) places.push(at);
  return places;
}

function drawGrid(view, slice, displacement, stepMm) {
  const [columns, rows] = view.size;
  const at = (x, y) => {
    const mm = displacement.at(view.place(x, y, slice));
    return view.project(x + mm[view.across] / view.step[0], y + mm[view.up] / view.step[1]);
  };
  const path = new Path2D();
  const line = (count, point) => {
    path.moveTo(...point(0));
    for (let n = 1; n < count; n++) path.lineTo(...point(n));
  };
  for (const x of lattice(columns, stepMm / view.step[0])) line(rows, (y) => at(x, y));
  for (const y of lattice(rows, stepMm / view.step[1])) line(columns, (x) => at(x, y));
  stroke(view, path, INK.grid, 0.9);
}

// `scale`: what a long arrow stands for, in the unit of the vectors.
function drawArrows(view, slice, vectors, brain, stepMm, scale, colour) {
  const path = new Path2D();
  const [mmX, mmY] = view.step;
  const perUnit = (ARROW_SPAN * stepMm) / scale;
  for (const x of lattice(view.size[0], stepMm / mmX)) {
    for (const y of lattice(view.size[1], stepMm / mmY)) {
      const place = view.place(x, y, slice);
      if (brain.codeAt(place) === 0) continue;
      const vector = vectors.at(place);
      const [alongX, alongY] = [vector[view.across], vector[view.up]].map((part) => part * perUnit);
      addArrow(path, view.project(x, y), view.project(x + alongX / mmX, y + alongY / mmY));
    }
  }
  stroke(view, path, colour, 1.5);
}

function addArrow(path, from, to) {
  const length = Math.hypot(to[0] - from[0], to[1] - from[1]);
  if (length < 1) return;
  const head = Math.min(0.4 * length, 5 * devicePixelRatio);
  const angle = Math.atan2(to[1] - from[1], to[0] - from[0]);
  path.moveTo(...from);
  path.lineTo(...to);
  for (const turn of [-0.5, 0.5]) {
    path.moveTo(...to);
    path.lineTo(to[0] - head * Math.cos(angle + turn), to[1] - head * Math.sin(angle + turn));
  }
}

function drawCross(view, place) {
  const [x, y] = view.project(place[view.across], place[view.up]);
  const { width, height } = view.canvas;
  const gap = 7 * devicePixelRatio;
  const path = new Path2D();
  for (const [from, to] of [[0, x - gap], [x + gap, width]]) if (from < to) path.rect(from, y, to - from, 0);
  for (const [from, to] of [[0, y - gap], [y + gap, height]]) if (from < to) path.rect(x, from, 0, to - from);
  stroke(view, path, INK.cross, 0.8);
}

function drawEnds(view) {
  const context = view.canvas.getContext("2d");
  const { width, height } = view.canvas;
  const [left, right] = view.flipped ? [1, 0] : [0, 1];
  const margin = 11 * devicePixelRatio;
  context.font = `600 ${13 * devicePixelRatio}px system-ui, sans-serif`;
  context.textAlign = "center";
  context.textBaseline = "middle";
  const places = [[margin, height / 2], [width - margin, height / 2], [width / 2, height - margin], [width / 2, margin]];
  [left, right, 2, 3].forEach((end, n) => {
    context.lineWidth = 3 * devicePixelRatio;
    context.strokeStyle = "#000c";
    context.strokeText(view.ends[end], ...places[n]);
    context.fillStyle = "#fff";
    context.fillText(view.ends[end], ...places[n]);
  });
}

function stroke(view, path, colour, width) {
  const context = view.canvas.getContext("2d");
  context.strokeStyle = colour;
  context.lineWidth = width * devicePixelRatio;
  context.lineJoin = "round";
  context.stroke(path);
}
