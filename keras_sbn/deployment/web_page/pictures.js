/** Pixels of pictures and of the camera, as the training's decoder has them. */

/**
 * Decodes a picture: upright, and with the values of its file. No colour profile is applied, as the
 * decoder of the training applies none, and what is transparent keeps its colour.
 *
 * @param {Blob} blob
 * @return A picture as `fit` takes it, with `draw(context, width, height)` and `close()`.
 */
export async function decode(blob) {
  const name = blob.name ?? "what was pasted";
  let bitmap;
  try {
    bitmap = await createImageBitmap(blob, {
      imageOrientation: "from-image",
      premultiplyAlpha: "none",
      colorSpaceConversion: "none",
    });
  } catch {
    const kind = blob.type ? `of type ${blob.type}` : "of no known type";
    throw new Error(
      `Expected a picture, such as JPEG, PNG or WebP. Received: ${name}, ${kind}, which this browser ` +
        "does not decode",
    );
  }
  return picture(bitmap, bitmap.width, bitmap.height, () => bitmap.close());
}

/** The image that a video shows. */
export function frame(video) {
  return picture(video, video.videoWidth, video.videoHeight, () => {});
}

/**
 * Whether pages read the pixels that were drawn. Some browsers change them a little, so that pages cannot
 * tell one device from another.
 */
export function readsExactly() {
  const context = scratch(16, 16);
  const drawn = context.createImageData(16, 16);
  for (let i = 0; i < drawn.data.length; i++) drawn.data[i] = i % 4 === 3 ? 255 : (i * 31 + (i >> 6)) & 255;
  context.putImageData(drawn, 0, 0);
  const read = context.getImageData(0, 0, 16, 16).data;
  return read.every((value, i) => value === drawn.data[i]);
}

function picture(source, width, height, close) {
  return {
    width,
    height,
    close,
    draw: (context, drawnWidth, drawnHeight) => context.drawImage(source, 0, 0, drawnWidth, drawnHeight),
    read(left, top, pieceWidth, pieceHeight) {
      const context = scratch(pieceWidth, pieceHeight);
      context.globalCompositeOperation = "copy";
      context.drawImage(source, left, top, pieceWidth, pieceHeight, 0, 0, pieceWidth, pieceHeight);
      const { data } = context.getImageData(0, 0, pieceWidth, pieceHeight);
      return opaque(data) ? data : straight(source, left, top, pieceWidth, pieceHeight);
    },
  };
}

function opaque(pixels) {
  for (let i = 3; i < pixels.length; i += 4) if (pixels[i] !== 255) return false;
  return true;
}

let canvas;

function scratch(width, height) {
  canvas ??= document.createElement("canvas");
  canvas.width = width;
  canvas.height = height;
  const context = canvas.getContext("2d", { willReadFrequently: true });
  if (!context) throw new Error("Expected a browser that lets pages read pixels. This one does not");
  return context;
}

let gl;

/**
 * Pixels with their colour as it is in the file. A two-dimensional canvas keeps colours multiplied by the
 * opacity, and of what is transparent it keeps none; a texture keeps both.
 */
function straight(source, left, top, width, height) {
  gl ??= document.createElement("canvas").getContext("webgl2");
  const largest = gl?.getParameter(gl.MAX_TEXTURE_SIZE) ?? 0;
  if (Math.max(source.width, source.height) > largest) {
    throw new Error(
      "Expected a picture without transparency, or a browser with WebGL 2 for its size. Received: " +
        `${source.width} x ${source.height} pixels, some of them transparent. Save it without transparency`,
    );
  }
  const texture = gl.createTexture();
  const buffer = gl.createFramebuffer();
  gl.bindTexture(gl.TEXTURE_2D, texture);
  gl.pixelStorei(gl.UNPACK_PREMULTIPLY_ALPHA_WEBGL, false);
  gl.pixelStorei(gl.UNPACK_COLORSPACE_CONVERSION_WEBGL, gl.NONE);
  gl.texImage2D(gl.TEXTURE_2D, 0, gl.RGBA, gl.RGBA, gl.UNSIGNED_BYTE, source);
  gl.bindFramebuffer(gl.FRAMEBUFFER, buffer);
  gl.framebufferTexture2D(gl.FRAMEBUFFER, gl.COLOR_ATTACHMENT0, gl.TEXTURE_2D, texture, 0);
  const pixels = new Uint8Array(4 * width * height);
  gl.readPixels(left, top, width, height, gl.RGBA, gl.UNSIGNED_BYTE, pixels);
  gl.deleteFramebuffer(buffer);
  gl.deleteTexture(texture);
  return pixels;
}
