/** Which rows of which groups `--only` picks. */
import type { Group } from "./rows.ts"

export interface Selection {
  readonly group: Group
  readonly rows: ReadonlyArray<string>
}

/**
 * The rows of that name, or else those whose name begins with it, or whose group does; several may be given with commas
 * between them. All of them without a name.
 */
export const select = (groups: ReadonlyArray<Group>, only: string | undefined): ReadonlyArray<Selection> => {
  const all = groups.flatMap((group) => group.rows)
  const wanted = only === undefined
    ? new Set(all)
    : new Set(
      only.split(",").flatMap((name) =>
        all.includes(name)
          ? [name]
          : groups.flatMap((group) =>
            group.name === name ? group.rows : group.rows.filter((row) => row === name || row.startsWith(name))
          )
      )
    )
  return groups.flatMap((group) => {
    const rows = group.rows.filter((row) => wanted.has(row))
    return rows.length === 0 ? [] : [{ group, rows }]
  })
}
