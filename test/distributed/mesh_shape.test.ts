import { expect, it } from 'vitest';
import { meshSchema, parseMesh, rankDevice, rankThreads } from '../../src/distributed/mesh_shape.js';

it('reads a mesh from text and from YAML', () => {
  expect(parseMesh('dp=2,tp=4')).toEqual({ dp: 2, tp: 4 });
  expect(parseMesh(' tp = 8 ')).toEqual({ dp: 1, tp: 8 });
  expect(meshSchema.parse({ dp: 3 })).toEqual({ dp: 3, tp: 1 });
  expect(meshSchema.safeParse({ pp: 2 }).success).toBe(false);
});

it.each(['', '2', 'dp=0', 'dp=2,dp=2', 'pp=2', 'dp=2;tp=2', 'dp=1.5'])('refuses the mesh %j', (text) => {
  expect(() => parseMesh(text)).toThrow(`Expected a mesh such as dp=2, tp=4 or dp=2,tp=4 but received '${text}'`);
});

it('gives ranks of a machine one GPU each, or a share of the CPU', () => {
  expect([0, 3].map((index) => rankDevice('cuda:2', index))).toEqual(['cuda:2', 'cuda:5']);
  expect(rankDevice('cuda', 1)).toBe('cuda:1');
  expect(rankDevice('cuda-emulated:1', 2)).toBe('cuda-emulated:3');
  expect(['cpu', 'cpu-chaos', 'cuda-emulated'].map((device) => rankDevice(device, 1))).toEqual([
    'cpu',
    'cpu-chaos',
    'cuda-emulated',
  ]);
  expect([rankThreads(8, 3), rankThreads(2, 4)]).toEqual([2, 1]);
});
