/** The first of `all` with the tag; fails the test when there is none. */
export const only = <F extends { readonly _tag: string }, Tag extends F["_tag"]>(
  all: ReadonlyArray<F>,
  tag: Tag
): Extract<F, { readonly _tag: Tag }> => {
  const isTagged = (one: F): one is Extract<F, { readonly _tag: Tag }> => one._tag === tag
  const found = all.find(isTagged)
  if (found === undefined) throw new Error(`no ${tag} among ${all.map((one) => one._tag).join(", ") || "nothing"}`)
  return found
}
