# The connector's image: Python, the locked packages, and mnc, run by a user without rights.
#
# docs/deployment.md says how to build it, what it needs to run, and what its volume is for.

FROM python:3.11-slim-bookworm AS build
ENV PIP_DISABLE_PIP_VERSION_CHECK=1 \
    PIP_NO_CACHE_DIR=1 \
    PIP_NO_INPUT=1
WORKDIR /build
COPY locks/build.txt locks/serve.txt locks/otel.txt locks/
# Which of them mnc runs with: "otel" for traces.
ARG LOCK=serve
# Packages before sources: a change of mnc alone takes them from the cache of layers.
RUN python -m venv tools \
    && tools/bin/pip install --require-hashes --requirement locks/build.txt \
    && python -m venv --without-pip /app \
    && tools/bin/pip --python /app/bin/python install --require-hashes --requirement "locks/${LOCK}.txt"
COPY pyproject.toml README.md LICENSE ./
COPY src src
RUN tools/bin/pip wheel --no-deps --no-build-isolation --wheel-dir dist . \
    && tools/bin/pip --python /app/bin/python install --no-deps dist/*.whl \
    && /app/bin/mnc --version

FROM python:3.11-slim-bookworm
ARG VERSION=unknown
ARG REVISION=unknown
LABEL org.opencontainers.image.title="mnc" \
      org.opencontainers.image.description="Keeps a NATS JetStream stream in step with MongoDB collections: complete, once, in order." \
      org.opencontainers.image.licenses="MIT" \
      org.opencontainers.image.version="${VERSION}" \
      org.opencontainers.image.revision="${REVISION}"
COPY --from=build /app /app
# By number, so that Kubernetes can tell that it isn't root. A volume that is made for the folder
# takes its owner.
RUN install --directory --owner=10001 --group=10001 --mode=0750 /var/lib/mnc
ENV PATH=/app/bin:$PATH \
    PYTHONDONTWRITEBYTECODE=1 \
    RAFT_LOG_PATH=/var/lib/mnc
USER 10001:10001
WORKDIR /var/lib/mnc
VOLUME /var/lib/mnc
EXPOSE 3000
STOPSIGNAL SIGTERM
# /livez, because a restart doesn't bring MongoDB or NATS back. http.client takes no proxy from the
# environment, as urllib would.
HEALTHCHECK --interval=10s --timeout=5s --start-period=10s --retries=3 CMD ["python", "-c", "\
import http.client, os, sys; \
server = http.client.HTTPConnection('127.0.0.1', int(os.environ.get('HTTP_PORT', 3000)), timeout=3); \
server.request('GET', '/livez'); \
sys.exit(server.getresponse().status != 200)"]
ENTRYPOINT ["mnc"]
CMD ["serve"]
