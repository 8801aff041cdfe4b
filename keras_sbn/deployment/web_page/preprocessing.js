/**
 * Makes the model's image of a picture, as keras_sbn.deployment.fit_image does, bit for bit.
 *
 * The largest piece of the right shape is cut out of the middle. Each pixel of the result is the mean of
 * what it covers, source pixels that it covers in part counting with their share, rounded half up. In
 * units of 1 / (target size) of a source pixel, source row r covers [r * target, (r + 1) * target) and
 * target row i covers [i * source, (i + 1) * source).
 *
 * Numbers of JavaScript are float64, and there is still one right answer. The shares of a target pixel sum
 * up to `total`, the number of source pixels, so all sums are integers of at most 511 * total, far below
 * 2^53. A quotient (2 sum + total) / (2 total) that is no integer is at least 1 / (2 total) away from one,
 * and the division rounds it by less than 2^-44: up to 2^43 pixels none becomes another integer.
 */

/** Pixels that are read at once: a picture need not fit into one canvas. */
const PIXELS_AT_ONCE = 1 << 22;

/** The piece of a picture that the model sees: the largest of its shape, in the middle. */
export function cut(width, height, targetWidth, targetHeight) {
  const wide = width * targetHeight > height * targetWidth;
  const cutWidth = wide ? Math.max(Math.floor((height * targetWidth) / targetHeight), 1) : width;
  const cutHeight = wide ? height : Math.max(Math.floor((width * targetHeight) / targetWidth), 1);
  const left = Math.floor((width - cutWidth) / 2);
  const top = Math.floor((height - cutHeight) / 2);
  return { left, top, width: cutWidth, height: cutHeight };
}

/**
 * @param {{width: number, height: number, read: Function}} picture `read(left, top, width, height)` gives
 *     the pixels of a piece row by row, 4 bytes each: red, green, blue, and one that is not looked at.
 * @param {number} channels 3 for red, green, blue; 1 for the grey of them.
 * @return {Uint8Array} `targetHeight * targetWidth * channels` values.
 */
export function fit(picture, targetWidth, targetHeight, channels) {
  const piece = cut(picture.width, picture.height, targetWidth, targetHeight);
  const columns = overlaps(piece.width, targetWidth);
  const rows = overlaps(piece.height, targetHeight);
  const sums = new Float64Array(3 * targetHeight * targetWidth);
  const ofRow = new Float64Array(3 * targetWidth);
  const atOnce = Math.max(Math.floor(PIXELS_AT_ONCE / piece.width), 1);
  let first = 0; // The first target row that the source row meets.
  for (let begin = 0; begin < piece.height; begin += atOnce) {
    const count = Math.min(atOnce, piece.height - begin);
    const pixels = picture.read(piece.left, piece.top + begin, piece.width, count);
    for (let row = 0; row < count; row++) {
      sumRow(pixels, 4 * row * piece.width, columns, ofRow);
      while (rows[first].last < begin + row) first++;
      for (let i = first; i < targetHeight && rows[i].first <= begin + row; i++) {
        const share = shareOf(rows[i], begin + row);
        const at = i * ofRow.length;
        for (let j = 0; j < ofRow.length; j++) sums[at + j] += share * ofRow[j];
      }
    }
  }
  return means(sums, piece.width * piece.height, channels);
}

/** For each target row, or column, the first and last source one that it covers, and how much of them. */
function overlaps(source, target) {
  return Array.from({ length: target }, (_, i) => {
    const begin = i * source;
    const end = begin + source;
    const first = Math.floor(begin / target);
    const last = Math.floor((end - 1) / target);
    const share = (index) => Math.min((index + 1) * target, end) - Math.max(index * target, begin);
    // What lies between is covered whole.
    return { first, last, ofFirst: share(first), ofLast: share(last), whole: target };
  });
}

function shareOf({ first, last, ofFirst, ofLast, whole }, index) {
  if (index === first) return ofFirst;
  return index === last ? ofLast : whole;
}

function sumRow(pixels, start, columns, sums) {
  for (let j = 0; j < columns.length; j++) {
    const { first, last, ofFirst, ofLast, whole } = columns[j];
    const begin = start + 4 * first;
    const end = start + 4 * last;
    let red = 0;
    let green = 0;
    let blue = 0;
    for (let at = begin + 4; at < end; at += 4) {
      red += pixels[at];
      green += pixels[at + 1];
      blue += pixels[at + 2];
    }
    const other = last > first ? ofLast : 0;
    sums[3 * j] = ofFirst * pixels[begin] + whole * red + other * pixels[end];
    sums[3 * j + 1] = ofFirst * pixels[begin + 1] + whole * green + other * pixels[end + 1];
    sums[3 * j + 2] = ofFirst * pixels[begin + 2] + whole * blue + other * pixels[end + 2];
  }
}

function means(sums, total, channels) {
  const colours = Uint8Array.from(sums, (sum) => Math.floor((2 * sum + total) / (2 * total)));
  if (channels === 3) return colours;
  return Uint8Array.from({ length: colours.length / 3 }, (_, i) =>
    // Parts of red, green and blue in grey: ITU-R BT.601.
    Math.floor((299 * colours[3 * i] + 587 * colours[3 * i + 1] + 114 * colours[3 * i + 2] + 500) / 1000),
  );
}
