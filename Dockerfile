# One image for every service and job: `docker run IMAGE ingest`, `docker run IMAGE migrate`.
FROM python:3.13-slim AS build
COPY requirements/runtime.txt /tmp/
RUN --mount=type=cache,target=/root/.cache/pip \
    python -m venv --without-pip /opt/minegnk \
 && pip --python /opt/minegnk/bin/python install --require-hashes --only-binary :all: --no-deps \
        --disable-pip-version-check --root-user-action ignore -r /tmp/runtime.txt
COPY services /app/services
# Compiled here: a container's file system is read-only, and nobody wants to wait for it at each start.
RUN python -m compileall -q /app/services \
 && printf '#!/bin/sh\nexec python -m services "$@"\n' >/opt/minegnk/bin/minegnk \
 && chmod +x /opt/minegnk/bin/minegnk

FROM python:3.13-slim
ENV PATH=/opt/minegnk/bin:$PATH \
    PYTHONPATH=/app \
    PYTHONDONTWRITEBYTECODE=1 \
    PYTHONUNBUFFERED=1 \
    HOME=/tmp \
    MINEGNK_METRICS_HOST=0.0.0.0
WORKDIR /app
COPY --from=build /opt/minegnk /opt/minegnk
COPY --from=build /app/services services
COPY migrations migrations
COPY sources.toml .
# A number, so that Kubernetes can tell that it is not root.
USER 10001:10001
ENTRYPOINT ["minegnk"]
CMD ["--help"]
