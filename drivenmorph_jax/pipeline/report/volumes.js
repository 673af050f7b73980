// Volumes: from text to numbers.

// What each code of a volume means.
const MEANING = {
  linear: (code, top) => (code === 0 ? 0 : ((code - 1) / 254) * top),
  ratio: (code, doublings) => (code === 0 ? 0 : 2 ** (((code - 128) / 127) * doublings)),
  "signed root": (code, top) => {
    const root = (code - 128) / 127;
    return Math.sign(root) * root * root * top;
  },
};

async function unpack({ code, top, step, shape, data }) {
  const deflated = Uint8Array.from(atob(data), (letter) => letter.charCodeAt(0));
  const stream = new Blob([deflated]).stream().pipeThrough(new DecompressionStream("deflate"));
  const codes = new Uint8Array(await new Response(stream).arrayBuffer());
  const [, rows, columns] = shape;
  const plane = rows * columns;
  // Each code came as its difference to the neighbours; bytes wrap around as they did there.
  for (let n = 0; n < codes.length; n++) if (n % columns) codes[n] += codes[n - 1];
  for (let n = 0; n < codes.length; n++) if (n % plane >= columns) codes[n] += codes[n - columns];
  const values = Float32Array.from({ length: 256 }, (_, n) => MEANING[code](n, top));
  const codeAt = ([i, j, k]) =>
    codes[Math.floor(i / step) * plane + Math.floor(j / step) * columns + Math.floor(k / step)];
  return { top, codeAt, at: (place) => values[codeAt(place)] };
}

async function unpackAll(volumes) {
  const result = {};
  for (const [name, packed] of Object.entries(volumes)) {
    result[name] = Array.isArray(packed) ? vectors(await Promise.all(packed.map(unpack))) : await unpack(packed);
  }
  return result;
}

function vectors(parts) {
  const at = (place) => parts.map((part) => part.at(place));
  return { at, lengthAt: (place) => Math.hypot(...at(place)) };
}
