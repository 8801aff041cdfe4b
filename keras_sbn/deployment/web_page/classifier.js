/** Runs the model beside the page with LiteRT.js. */

import { loadAndCompile, loadLiteRt, supportsFeature, Tensor } from "@litertjs/core";
import { fit } from "./preprocessing.js";

/** The form of model.json that this code reads. */
const FORMAT = 1;
const RUNTIME = "./litert/core/";
const ARRAYS = { float32: Float32Array, uint8: Uint8Array };

/**
 * What LiteRT.js reports as errors. It does not throw where a model has an operator that it does not have: it
 * writes a line, and gives whatever numbers are in memory.
 */
const errors = [];

function heard(line) {
  if (line.startsWith("ERROR")) errors.push(line);
  console.debug(line);
}

async function fetched(name) {
  const response = await fetch(name);
  if (!response.ok) {
    throw new Error(`Expected ${name} beside the page. Received: ${response.status} ${response.statusText}`);
  }
  return response;
}

/** LiteRT.js, with threads where the page's server allows them, and what it is for a person. */
async function runtime() {
  const { version } = await (await fetched(`${RUNTIME}package.json`)).json();
  const relaxed = await supportsFeature("relaxedSimd");
  const threads = globalThis.crossOriginIsolated === true && relaxed && (await supportsFeature("threads"));
  // Where Emscripten, with which LiteRT.js is built, looks for who takes the lines.
  globalThis.Module = { printErr: heard };
  let loaded;
  try {
    loaded = await loadLiteRt(`${RUNTIME}wasm/`, { threads });
  } catch (error) {
    // A script that cannot be loaded is an event, and says nothing.
    const reason = error instanceof Event ? "a script that does not load" : said(error);
    throw new Error(`Expected LiteRT.js in ${RUNTIME}wasm/, fit for this browser. Received: ${reason}`);
  }
  const count = loaded.liteRtWasm.getThreadCount();
  const parts = [
    `LiteRT.js ${version}`,
    relaxed ? "WebAssembly, relaxed SIMD" : "WebAssembly",
    `${count} ${count === 1 ? "thread" : "threads"}`,
  ];
  return parts.join(", ");
}

export class Classifier {
  /**
   * `model.json` says what the model takes for each of the values 0 to 255 of an image, how its outputs are
   * stored, and what the classes are. `keras-sbn deploy web` writes it, beside the model.
   */
  static async load() {
    const settings = await (await fetched("./model.json")).json();
    if (settings.format !== FORMAT) {
      throw new Error(
        `Expected model.json of format ${FORMAT}. Received: ${settings.format}. ` +
          "Write the page anew: keras-sbn deploy web ... --overwrite",
      );
    }
    const content = new Uint8Array(await (await fetched("./model.tflite")).arrayBuffer());
    const name = await runtime();
    // What it says of itself, such as of a graphics card that is not there, is no error of the model.
    errors.length = 0;
    let model;
    try {
      model = await loadAndCompile(content, { accelerator: "wasm" });
    } catch (error) {
      throw new Error(`LiteRT.js does not take ${settings.file}: ${[...errors, said(error)].join(" ")}`);
    }
    const classifier = new Classifier(settings, model, name, content.length);
    // The first run sets memory up. It is no picture's time, and what it cannot run is said now.
    const black = { width: 1, height: 1, read: () => new Uint8Array(4) };
    await classifier.classify(black);
    return classifier;
  }

  constructor(settings, model, runtime, bytes) {
    const [input] = model.getInputDetails();
    const [output] = model.getOutputDetails();
    const { shape, dtype, values } = settings.input;
    const found = `${input.dtype} [${input.shape.join(", ")}]`;
    if (found !== `${dtype} [${[1, ...shape].join(", ")}]` || values.length !== 256) {
      throw new Error(
        `Expected a model of ${dtype} [1, ${shape.join(", ")}], as model.json says. Received: ${found}`,
      );
    }
    const classes = output.shape.reduce((product, size) => product * size, 1);
    if (settings.labels.length !== classes || output.dtype !== settings.output.dtype) {
      throw new Error(
        `Expected a model of ${settings.labels.length} classes in ${settings.output.dtype}, as model.json ` +
          `says. Received: ${classes} in ${output.dtype}`,
      );
    }
    Object.assign(this, { settings, runtime, bytes });
    this.labels = settings.labels;
    [this.height, this.width, this.channels] = shape;
    this.model = model;
    this.values = ARRAYS[dtype].from(values);
  }

  /**
   * @param picture As `fit` takes it.
   * @return The model's image, the scores with the highest first, and the milliseconds of both steps.
   */
  async classify(picture) {
    const begun = performance.now();
    const image = fit(picture, this.width, this.height, this.channels);
    const fitted = performance.now();
    const input = this.values.constructor.from(image, (value) => this.values[value]);
    const tensor = new Tensor(input, [1, this.height, this.width, this.channels]);
    try {
      const started = performance.now();
      const [output] = await this.model.run(tensor);
      const network = performance.now() - started;
      if (errors.length > 0) {
        throw new Error(`LiteRT.js does not run ${this.settings.file}: ${errors.join(" ")}`);
      }
      const { scale, zero_point: zeroPoint } = this.settings.output;
      const values = Float32Array.from(output.toTypedArray(), (value) => scale * (value - zeroPoint));
      output.delete();
      const scores = Array.from(values, (value, index) => ({ label: this.labels[index], value }));
      scores.sort((a, b) => b.value - a.value);
      return { image, scores, milliseconds: { picture: fitted - begun, network } };
    } finally {
      tensor.delete();
    }
  }
}

/** The message of whatever was thrown. */
export function said(error) {
  return error instanceof Error ? error.message : String(error?.message ?? error);
}
