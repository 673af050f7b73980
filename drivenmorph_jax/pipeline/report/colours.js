// Colours of the overlays: 256 steps between a few stops.

const FOLDED = [255, 0, 200];

const MAPS = {
  // Perceptually uniform, dark to bright.
  displacement: ["440154", "482878", "3e4a89", "31688e", "26828e", "1f9e89", "35b779", "6ece58", "b5de2b", "fde725"],
  force: ["000004", "1b0c41", "4a0c6b", "781c6d", "a52c60", "cf4446", "ed6925", "fb9b06", "f7d13d", "fcffa4"],
  // Diverging around 1: blue where tissue grows, red where it shrinks.
  jacobian: ["2166ac", "4393c3", "92c5de", "d1e5f0", "f7f7f7", "fddbc7", "f4a582", "d6604d", "b2182b"],
};

const COLOURS = Object.fromEntries(Object.entries(MAPS).map(([name, stops]) => [name, gradient(stops)]));

function gradient(stops) {
  const rgb = stops.map((hex) => [0, 2, 4].map((at) => parseInt(hex.slice(at, at + 2), 16)));
  return Array.from({ length: 256 }, (_, n) => {
    const place = (n / 255) * (rgb.length - 1);
    const low = Math.min(Math.floor(place), rgb.length - 2);
    return rgb[low].map((from, c) => from + (place - low) * (rgb[low + 1][c] - from));
  });
}

function colourAt(overlay, volumes, scales, place) {
  if (overlay === "jacobian") {
    const code = volumes.jacobian.codeAt(place);
    return code === 0 ? FOLDED : COLOURS.jacobian[code];
  }
  const share = volumes[overlay].lengthAt(place) / scales[overlay].top;
  return COLOURS[overlay][Math.round(255 * Math.min(share, 1))];
}
