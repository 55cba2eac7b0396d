"""The whole machine in one run: driver, toolkit, model files, engines, services, checks."""
