/**
 * Reading and writing one field of many rows.
 *
 * For each place in the source where a field is reached by a name that is not known there, the engine remembers one name
 * and where objects have it. A place that sees many names is four to ten times slower, and one made by the same source is
 * the same place. Since nothing may be compiled at run time, the same source stands here several times, and fields take
 * turns at them.
 */

export type Row = { [name: string]: unknown }

/** One field, by its name. */
export interface Place {
  readonly read: (rows: ReadonlyArray<Row>, values: Array<unknown>) => void
  readonly write: (rows: ReadonlyArray<Row>, values: ReadonlyArray<unknown>) => void
  readonly accepts: (row: Row) => boolean
}

let next = 0

/** A place for a field, and what it accepts. */
export const placeFor = (name: string, accept: (u: unknown) => boolean): Place =>
  places[next++ % places.length]!(name, accept)

const places: ReadonlyArray<(name: string, accept: (u: unknown) => boolean) => Place> = [
  (name, accept) => ({
    read: (rows, values) => {
      for (let i = 0; i < rows.length; i++) values[i] = rows[i]![name]
    },
    write: (rows, values) => {
      for (let i = 0; i < rows.length; i++) rows[i]![name] = values[i]
    },
    accepts: (row) => accept(row[name])
  }),
  (name, accept) => ({
    read: (rows, values) => {
      for (let i = 0; i < rows.length; i++) values[i] = rows[i]![name]
    },
    write: (rows, values) => {
      for (let i = 0; i < rows.length; i++) rows[i]![name] = values[i]
    },
    accepts: (row) => accept(row[name])
  }),
  (name, accept) => ({
    read: (rows, values) => {
      for (let i = 0; i < rows.length; i++) values[i] = rows[i]![name]
    },
    write: (rows, values) => {
      for (let i = 0; i < rows.length; i++) rows[i]![name] = values[i]
    },
    accepts: (row) => accept(row[name])
  }),
  (name, accept) => ({
    read: (rows, values) => {
      for (let i = 0; i < rows.length; i++) values[i] = rows[i]![name]
    },
    write: (rows, values) => {
      for (let i = 0; i < rows.length; i++) rows[i]![name] = values[i]
    },
    accepts: (row) => accept(row[name])
  }),
  (name, accept) => ({
    read: (rows, values) => {
      for (let i = 0; i < rows.length; i++) values[i] = rows[i]![name]
    },
    write: (rows, values) => {
      for (let i = 0; i < rows.length; i++) rows[i]![name] = values[i]
    },
    accepts: (row) => accept(row[name])
  }),
  (name, accept) => ({
    read: (rows, values) => {
      for (let i = 0; i < rows.length; i++) values[i] = rows[i]![name]
    },
    write: (rows, values) => {
      for (let i = 0; i < rows.length; i++) rows[i]![name] = values[i]
    },
    accepts: (row) => accept(row[name])
  }),
  (name, accept) => ({
    read: (rows, values) => {
      for (let i = 0; i < rows.length; i++) values[i] = rows[i]![name]
    },
    write: (rows, values) => {
      for (let i = 0; i < rows.length; i++) rows[i]![name] = values[i]
    },
    accepts: (row) => accept(row[name])
  }),
  (name, accept) => ({
    read: (rows, values) => {
      for (let i = 0; i < rows.length; i++) values[i] = rows[i]![name]
    },
    write: (rows, values) => {
      for (let i = 0; i < rows.length; i++) rows[i]![name] = values[i]
    },
    accepts: (row) => accept(row[name])
  }),
  (name, accept) => ({
    read: (rows, values) => {
      for (let i = 0; i < rows.length; i++) values[i] = rows[i]![name]
    },
    write: (rows, values) => {
      for (let i = 0; i < rows.length; i++) rows[i]![name] = values[i]
    },
    accepts: (row) => accept(row[name])
  }),
  (name, accept) => ({
    read: (rows, values) => {
      for (let i = 0; i < rows.length; i++) values[i] = rows[i]![name]
    },
    write: (rows, values) => {
      for (let i = 0; i < rows.length; i++) rows[i]![name] = values[i]
    },
    accepts: (row) => accept(row[name])
  }),
  (name, accept) => ({
    read: (rows, values) => {
      for (let i = 0; i < rows.length; i++) values[i] = rows[i]![name]
    },
    write: (rows, values) => {
      for (let i = 0; i < rows.length; i++) rows[i]![name] = values[i]
    },
    accepts: (row) => accept(row[name])
  }),
  (name, accept) => ({
    read: (rows, values) => {
      for (let i = 0; i < rows.length; i++) values[i] = rows[i]![name]
    },
    write: (rows, values) => {
      for (let i = 0; i < rows.length; i++) rows[i]![name] = values[i]
    },
    accepts: (row) => accept(row[name])
  }),
  (name, accept) => ({
    read: (rows, values) => {
      for (let i = 0; i < rows.length; i++) values[i] = rows[i]![name]
    },
    write: (rows, values) => {
      for (let i = 0; i < rows.length; i++) rows[i]![name] = values[i]
    },
    accepts: (row) => accept(row[name])
  }),
  (name, accept) => ({
    read: (rows, values) => {
      for (let i = 0; i < rows.length; i++) values[i] = rows[i]![name]
    },
    write: (rows, values) => {
      for (let i = 0; i < rows.length; i++) rows[i]![name] = values[i]
    },
    accepts: (row) => accept(row[name])
  }),
  (name, accept) => ({
    read: (rows, values) => {
      for (let i = 0; i < rows.length; i++) values[i] = rows[i]![name]
    },
    write: (rows, values) => {
      for (let i = 0; i < rows.length; i++) rows[i]![name] = values[i]
    },
    accepts: (row) => accept(row[name])
  }),
  (name, accept) => ({
    read: (rows, values) => {
      for (let i = 0; i < rows.length; i++) values[i] = rows[i]![name]
    },
    write: (rows, values) => {
      for (let i = 0; i < rows.length; i++) rows[i]![name] = values[i]
    },
    accepts: (row) => accept(row[name])
  })
]
