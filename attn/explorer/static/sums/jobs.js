import { MatrixSums, readMatrix } from "./matrix.js";
import { readSums } from "./reader.js";
import { MapSums } from "./sums.js";

/**
 * What a worker can be asked to add up, by the `kind` of the job: how it is read, and what a result is
 * made of again after it was sent.
 *
 * @type {Record<string, {read: (source: any, job: any, tell: (done: number, all: number) => boolean | Promise<boolean>) => Promise<any>, of: (plain: any) => any}>}
 */
export const KINDS = {
  maps: { read: readSums, of: MapSums.of },
  matrix: { read: readMatrix, of: MatrixSums.of },
};
