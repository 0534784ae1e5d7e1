/** Columns of structs in structs: the columns of their fields, one after the other. */
import * as Predicate from "effect/Predicate"
import { type Body, type Kind, misfit, type Stored } from "./batchKind.ts"
import { type Field, type Shape, shapeOf, trimmer } from "./batchShape.ts"

class StructColumn implements Stored {
  readonly _tag = "Values"
  readonly length: number
  readonly #shape: Shape
  readonly columns: ReadonlyArray<Stored>
  #values: ReadonlyArray<unknown> | undefined

  constructor(shape: Shape, length: number, columns: ReadonlyArray<Stored>) {
    this.#shape = shape
    this.length = length
    this.columns = columns
  }
  get column(): this {
    return this
  }
  get values(): ReadonlyArray<unknown> {
    return this.#values ??= this.#shape.make(this.columns.map(({ values }) => values), this.length)
  }
  get byteLength(): number {
    return this.columns.reduce((sum, column) => sum + column.byteLength, 0)
  }
  slice(from: number, to: number): StructColumn {
    return new StructColumn(this.#shape, to - from, this.columns.map((column) => column.slice(from, to)))
  }
  join(all: ReadonlyArray<StructColumn>): StructColumn {
    const length = all.reduce((sum, column) => sum + column.length, 0)
    const columns = this.columns.map((column, k) => column.join(all.map((other) => other.columns[k]!)))
    return new StructColumn(this.#shape, length, columns)
  }
  write(bodies: Array<Body>): void {
    for (const column of this.columns) column.write(bodies)
  }
}

/** The kind of a struct all of whose fields have columns. `names` are in the order of their declaration. */
export const structKind = (path: string, unordered: ReadonlyArray<Field>, names: ReadonlyArray<string>): Kind => {
  const shape = shapeOf(unordered)
  const { fields } = shape
  const hasChecks = fields.some(({ kind }) => kind.check !== undefined)
  return {
    print: { kind: "struct", columns: fields.map(({ kind, name }) => ({ name, ...kind.print })) },
    bodies: fields.reduce((sum, { kind }) => sum + kind.bodies, 0),
    least: fields.reduce((sum, { kind }) => sum + kind.least, 0),
    sizeOf: undefined,
    tensor: undefined,
    accepts: (u) => Predicate.isObject(u) && shape.accepts(u),
    check: hasChecks
      ? (column, report) => {
        const { columns } = column as StructColumn // of this kind
        fields.forEach(({ kind }, k) => kind.check?.(columns[k]!, report))
      }
      : undefined,
    trim: trimmer(fields, names),
    gather: (values) => {
      for (const value of values) if (!Predicate.isObject(value)) return misfit(path, "expected an object")
      const columns = shape.take(values).map((column, k) => fields[k]!.kind.gather(column))
      return new StructColumn(shape, values.length, columns)
    },
    read: (source, length) => new StructColumn(shape, length, fields.map(({ kind }) => kind.read(source, length)))
  }
}
