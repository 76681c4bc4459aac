// Numbers in a strip below pictures, so that it is seen how old a picture is; as avatarify_plus/remote/stamp.py has them.

const MARK = [1, 0, 1, 0];
const NUMBER_BITS = 16;
const CHECK_BITS = 4;
const BLOCKS = MARK.length + NUMBER_BITS + CHECK_BITS;
const STRIP_PART = 30;
const BLACK = "#181818";
const WHITE = "#e8e8e8";
const DARKEST_WHITE = 160;
const LIGHTEST_BLACK = 96;

export const NUMBERS = 1 << NUMBER_BITS;

export function stripOf(height) {
  return Math.max(2 * Math.round(height / (2 * STRIP_PART)), 2);
}

function bitsOf(number) {
  const check = (number ^ number >> 4 ^ number >> 8 ^ number >> 12) % 16 ^ 0b0110;
  const bits = (value, count) => Array.from({ length: count }, (_, place) => value >> count - 1 - place & 1);
  return [...bits(number, NUMBER_BITS), ...bits(check, CHECK_BITS)];
}

// Draw a number below a picture of this size, into a canvas that has room for it.
export function drawStamp(context, width, height, number) {
  const strip = stripOf(height);
  [...MARK, ...bitsOf(number % NUMBERS)].forEach((bit, block) => {
    const left = Math.ceil(block * width / BLOCKS);
    context.fillStyle = bit ? WHITE : BLACK;
    context.fillRect(left, height, Math.ceil((block + 1) * width / BLOCKS) - left, strip);
  });
}

const scratch = document.createElement("canvas");
const looking = scratch.getContext("2d", { willReadFrequently: true });

// Return the height of a picture without its strip, and its number, null if there is none that can be read.
export function readStamp(picture, width, height) {
  const strip = 2 * Math.round(height / (2 * (STRIP_PART + 1)));
  if (strip < 2 || width < 2 * BLOCKS) return { height, number: null };
  if (scratch.width !== width) scratch.width = width;
  if (scratch.height !== 1) scratch.height = 1;
  looking.drawImage(picture, 0, height - Math.ceil(strip / 2) - 1, width, 1, 0, 0, width, 1);
  const { data } = looking.getImageData(0, 0, width, 1);
  const bits = [];
  for (let block = 0; block < BLOCKS; block++) {
    const from = Math.floor((block + 0.25) * width / BLOCKS);
    const to = Math.max(Math.floor((block + 0.75) * width / BLOCKS), from + 1);
    let sum = 0;
    for (let x = from; x < to; x++) sum += data[4 * x] + data[4 * x + 1] + data[4 * x + 2];
    const level = sum / (3 * (to - from));
    if (level > LIGHTEST_BLACK && level < DARKEST_WHITE) return { height, number: null };
    bits.push(level >= DARKEST_WHITE ? 1 : 0);
  }
  if (MARK.some((bit, place) => bits[place] !== bit)) return { height, number: null };
  const rest = bits.slice(MARK.length);
  const number = rest.slice(0, NUMBER_BITS).reduce((sum, bit) => 2 * sum + bit, 0);
  const isRight = bitsOf(number).every((bit, place) => bit === rest[place]);
  return { height: height - strip, number: isRight ? number : null };
}
