/**
 * The names under which feeders keep things in a store.
 */

/** A name as a part of a key: a `/` is written `%2F`, so that it ends where it seems to. */
const escaped = (name: string): string => name.replaceAll("%", "%25").replaceAll("/", "%2F")

/** What all keys of a feeder begin with, for one feed. */
export const prefixOf = (options: { readonly feeder: string; readonly feed: string }): string =>
  `feeder/${escaped(options.feeder)}/${escaped(options.feed)}/`
