# The web page with PyTorch's CPU build. Nothing is fetched while it runs.
#   docker build -t facemorph-web .      docker run -p 127.0.0.1:7860:7860 -e FACEMORPH_WEB_AUTH=anna:a-long-password facemorph-web
# Where another base image or source of PyTorch is wanted: --build-arg BASE=... --build-arg TORCH="what pip is given".
ARG BASE=python:3.12-slim

FROM ${BASE} AS build
ARG TORCH="torch torchvision --index-url https://download.pytorch.org/whl/cpu"
RUN python -m venv /venv
ENV PATH=/venv/bin:$PATH PIP_NO_CACHE_DIR=1
RUN pip install ${TORCH}
COPY . /src
RUN pip install "/src[web]" && find /venv -name __pycache__ -prune -exec rm -rf {} +

FROM ${BASE}
RUN useradd --create-home --uid 10001 face
COPY --from=build /venv /venv
ENV PATH=/venv/bin:$PATH PYTHONDONTWRITEBYTECODE=1 PYTHONUNBUFFERED=1
USER face
WORKDIR /home/face
EXPOSE 7860
HEALTHCHECK --interval=30s --start-period=60s CMD ["python", "-c", "import socket; socket.create_connection(('127.0.0.1', 7860), 3)"]
# Without FACEMORPH_WEB_AUTH it does not start: others can reach it.
ENTRYPOINT ["facemorph", "web", "--host", "0.0.0.0"]
