# A static binary in an empty image: nothing else to patch, nothing to run but Tercet.
FROM rust:1.95-slim-bookworm AS build
SHELL ["/bin/bash", "-o", "pipefail", "-c"]
WORKDIR /source
COPY Cargo.toml Cargo.lock rust-toolchain.toml ./
COPY src src
COPY config config
COPY deploy deploy
COPY benches benches
# An explicit target keeps build scripts and procedural macros out of the static flags.
RUN target="$(rustc -vV | sed -n 's/^host: //p')" \
 && RUSTFLAGS="-C target-feature=+crt-static -C strip=debuginfo" cargo build --release --locked --bin tercet --target "$target" \
 && mkdir -p /image/data \
 && cp "target/$target/release/tercet" /image/tercet

FROM scratch
COPY --from=build /image/tercet /tercet
COPY --from=build --chown=65532:65532 /image/data /data
USER 65532:65532
WORKDIR /data
ENV XDG_DATA_HOME=/data
EXPOSE 8787 8788
VOLUME ["/data"]
HEALTHCHECK --interval=10s --timeout=3s --start-period=5s CMD ["/tercet", "health"]
ENTRYPOINT ["/tercet"]
CMD ["run"]
