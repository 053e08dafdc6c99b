# One image for every process of ours; docker-compose.yml says which of them runs where.
FROM python:3.11-slim-bookworm AS build
ENV PIP_DISABLE_PIP_VERSION_CHECK=1 PIP_NO_CACHE_DIR=1
RUN python -m venv /opt/fabu
ENV PATH=/opt/fabu/bin:$PATH
WORKDIR /src
COPY requirements.lock ./
# Published as source only: dkimpy. It is built with the lock's own setuptools, which therefore comes first.
RUN awk '/^[a-z]/ {wanted = /^setuptools==/} wanted' requirements.lock > build.lock \
    && python -m pip install --require-hashes --only-binary :all: -r build.lock \
    && python -m pip install --require-hashes --only-binary :all: --no-binary dkimpy --no-build-isolation -r requirements.lock
COPY pyproject.toml README.md LICENSE ./
COPY config config
COPY channels channels
COPY pipeline pipeline
COPY workers workers
COPY web web
RUN python -m pip install --no-deps --no-build-isolation . && python -m pip uninstall --yes setuptools pip

FROM python:3.11-slim-bookworm
# What is in the image at these places, and whose it is, becomes the first content of an empty volume mounted there.
RUN python -m pip uninstall --yes --root-user-action=ignore setuptools wheel pip \
    && groupadd --gid 10001 fabu \
    && useradd --system --uid 10001 --gid fabu --home-dir /srv/fabu --shell /usr/sbin/nologin fabu \
    && install -d -o fabu -g fabu -m 0750 /srv/fabu /srv/fabu/notices /srv/fabu/backups /srv/portal
COPY --from=build /opt/fabu /opt/fabu
ENV PATH=/opt/fabu/bin:$PATH PYTHONUNBUFFERED=1 PYTHONDONTWRITEBYTECODE=1
USER fabu
WORKDIR /srv/fabu
CMD ["fabu", "--help"]
