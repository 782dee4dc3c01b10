# The image holds Node.js, dist/ and the production dependencies; at run time only /data is written.
#
#   docker build -t shadowkeep .
#   docker run --init --read-only -p 127.0.0.1:50051:50051 -v shadowkeep-data:/data -m 4g shadowkeep
#
# --init puts a small init in front of Node, which reaps and forwards signals; without it Node is process 1 and
# handles SIGTERM itself. To pin the base image by digest: --build-arg NODE_IMAGE=node:24-bookworm-slim@sha256:…
ARG NODE_IMAGE=node:24-bookworm-slim

FROM ${NODE_IMAGE} AS build
WORKDIR /app
COPY package.json package-lock.json ./
# No dependency needs its install script: docs/decisions/0001-dependencies.md.
RUN npm ci --ignore-scripts
COPY tsconfig.json tsconfig.build.json ./
COPY scripts/build.mjs scripts/
COPY proto proto
COPY src src
RUN npm run build \
  && npm prune --omit=dev --ignore-scripts \
  && mkdir /data

FROM ${NODE_IMAGE}
ENV NODE_ENV=production \
    SHADOWKEEP_LISTEN=0.0.0.0:50051 \
    SHADOWKEEP_DATA_DIR=/data
WORKDIR /app
COPY --from=build /app/package.json ./
COPY --from=build /app/node_modules node_modules
COPY --from=build /app/proto proto
COPY --from=build /app/dist dist
# A new named volume takes its owner from this directory.
COPY --from=build --chown=node:node /data /data
VOLUME /data
# uid 1000 of the base image
USER node
EXPOSE 50051
# The start period covers the loading of a large run from /data.
HEALTHCHECK --interval=10s --timeout=5s --start-period=60s --retries=3 CMD ["node", "dist/main.js", "health"]
ENTRYPOINT ["node", "dist/main.js"]
CMD ["serve"]
