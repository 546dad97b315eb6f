/**
 * The onnxruntime peer of matrix products: a graph of one MatMul whose right factor is a constant, so that it is packed once, as
 * the weights of a model are.
 */
import { load, serve, versionOf } from './protocol.mjs';

let sessions = [];
let next = 0;

const tasks = {
  async name() {
    await load('onnxruntime-node');
    return `onnxruntime-node ${await versionOf('onnxruntime-node')}`;
  },

  async prepare({ op, dtype, shape: { M, N, K }, threads, copies }) {
    if (op !== 'matmul') throw new Error('it has no counterpart');
    const { InferenceSession, Tensor } = await load('onnxruntime-node');
    const make = dtype === 'bf16' ? randomBf16 : randomF32;
    const type = dtype === 'bf16' ? 'bfloat16' : 'float32';
    sessions = [];
    for (let copy = 0; copy < copies; copy++) {
      const weight = make(K * N);
      const model = matmulModel(M, N, K, dtype, new Uint8Array(weight.buffer));
      const session = await InferenceSession.create(model, {
        intraOpNumThreads: threads,
        interOpNumThreads: 1,
        executionProviders: ['cpu'],
        graphOptimizationLevel: 'all',
      });
      sessions.push({ session, feeds: { a: new Tensor(type, make(M * K), [M, K]) } });
    }
  },

  async run({ calls }) {
    const begin = performance.now();
    for (let call = 0; call < calls; call++) {
      const { session, feeds } = sessions[next++ % sessions.length];
      await session.run(feeds);
    }
    return (performance.now() - begin) / 1000 / calls;
  },
};

function randomF32(count) {
  return Float32Array.from({ length: count }, () => Math.random() * 2 - 1);
}

function randomBf16(count) {
  return Uint16Array.from(new Uint32Array(randomF32(count).buffer), (bits) => bits >>> 16);
}

/** An ONNX model, written as the protocol buffers of onnx.proto: c = MatMul(a, b) with b a constant. */
function matmulModel(M, N, K, dtype, weight) {
  const type = dtype === 'bf16' ? 16 : 1; // TensorProto.DataType
  const value = (name, rows, columns) => {
    const dimension = (size) => message(1, number(1, size)); // TensorShapeProto.dim { dim_value }
    const shape = message(2, dimension(rows), dimension(columns));
    return [text(1, name), message(2, message(1, number(1, type), shape))]; // ValueInfoProto: name, type.tensor_type
  };
  const node = [text(1, 'a'), text(1, 'b'), text(2, 'c'), text(4, 'MatMul')];
  const constant = [number(1, K), number(1, N), number(2, type), text(8, 'b'), bytes(9, weight)];
  const graph = [
    message(1, ...node),
    text(2, 'product'),
    message(5, ...constant),
    message(11, ...value('a', M, K)),
    message(12, ...value('c', M, N)),
  ];
  const opset = message(8, text(1, ''), number(2, 13));
  return Buffer.concat([number(1, 8), message(7, ...graph), opset]); // ModelProto: ir_version, graph, opset_import
}

function varint(value) {
  const out = [];
  for (; value > 127; value = Math.floor(value / 128)) out.push((value % 128) | 128);
  return Buffer.from([...out, value]);
}

function number(field, value) {
  return Buffer.concat([varint(field * 8), varint(value)]);
}

function bytes(field, data) {
  return Buffer.concat([varint(field * 8 + 2), varint(data.length), data]);
}

function text(field, value) {
  return bytes(field, Buffer.from(value));
}

function message(field, ...parts) {
  return bytes(field, Buffer.concat(parts));
}

await serve(tasks);
