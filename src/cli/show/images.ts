import * as v from "valibot"

/** What `banger get ls --json` prints: the images that are here, and those that banger knows where to get. */
export const imageListSchema = v.array(
  v.strictObject({
    name: v.string(),
    here: v.boolean(),
    /** null, as `path` is: it is not here. */
    sizeBytes: v.nullable(v.number()),
    path: v.nullable(v.string()),
    /** Shorter names for it. */
    also: v.pipe(v.array(v.string()), v.readonly()),
    /** null: an image of your own. */
    about: v.nullable(v.string()),
  }),
)
export type ImageList = v.InferOutput<typeof imageListSchema>
