// A view: one slice of the grid, its pixels, and where they are.

// Axes of the grid: 0 to the right, 1 to anterior, 2 to superior.
const PLANES = [
  { name: "axial", axis: 2, across: 0, up: 1, ends: ["L", "R", "P", "A"] },
  { name: "coronal", axis: 1, across: 0, up: 2, ends: ["L", "R", "I", "S"] },
  { name: "sagittal", axis: 0, across: 1, up: 2, ends: ["P", "A", "I", "S"] },
];
const CHECKER_MM = 20;

function makeView(plane, canvas, { shape, spacing }) {
  const size = [shape[plane.across], shape[plane.up]];
  const step = [spacing[plane.across], spacing[plane.up]];
  const pixels = document.createElement("canvas");
  [pixels.width, pixels.height] = size;
  const view = { ...plane, canvas, size, step, pixels, count: shape[plane.axis], flipped: false };
  // The grid's place at column x and row y of the slice, y upwards.
  view.place = (x, y, slice) => {
    const place = [0, 0, 0];
    [place[plane.across], place[plane.up], place[plane.axis]] = [x, y, slice];
    return place;
  };
  // From columns and rows (voxel centres at whole numbers) to pixels of the canvas, and back.
  view.project = (x, y) => {
    const share = (x + 0.5) / size[0];
    return [(view.flipped ? 1 - share : share) * canvas.width, (1 - (y + 0.5) / size[1]) * canvas.height];
  };
  view.voxelUnder = (event) => {
    const box = canvas.getBoundingClientRect();
    const share = (event.clientX - box.left) / box.width;
    const x = (view.flipped ? 1 - share : share) * size[0];
    const y = (1 - (event.clientY - box.top) / box.height) * size[1];
    return [x, y].map((at, n) => Math.max(0, Math.min(size[n] - 1, Math.floor(at))));
  };
  return view;
}

// Which of the images are seen at a place of the slice, and in what parts: [name, share] each.
function parts(state, x, y, step) {
  const { show, against } = state;
  if (show === "flicker") return [[state.swapped ? against : "fixed", 1]];
  if (show === "blend") return [["fixed", 1 - state.blend], [against, state.blend]];
  if (show !== "checkerboard") return [[show, 1]];
  const [column, row] = [x * step[0], y * step[1]].map((mm) => Math.floor(mm / CHECKER_MM));
  return [[(column + row) % 2 ? against : "fixed", 1]];
}

function paint(view, state, volumes, scales) {
  const { size, pixels, canvas } = view;
  const context = pixels.getContext("2d");
  const image = context.createImageData(...size);
  for (let y = 0; y < size[1]; y++) {
    for (let x = 0; x < size[0]; x++) {
      const place = view.place(x, y, state.place[view.axis]);
      let grey = 0;
      for (const [name, share] of parts(state, x, y, view.step)) grey += share * volumes[name].codeAt(place);
      let colour = [grey, grey, grey];
      if (state.overlay !== "none" && volumes.fixed.codeAt(place) > 0) {
        const over = colourAt(state.overlay, volumes, scales, place);
        colour = over.map((c) => state.opacity * c + (1 - state.opacity) * grey);
      }
      image.data.set([...colour, 255], 4 * ((size[1] - 1 - y) * size[0] + x));
    }
  }
  context.putImageData(image, 0, 0);
  const target = canvas.getContext("2d");
  target.setTransform(view.flipped ? -1 : 1, 0, 0, 1, view.flipped ? canvas.width : 0, 0);
  target.imageSmoothingQuality = "high";
  target.drawImage(pixels, 0, 0, canvas.width, canvas.height);
  target.resetTransform();
}
