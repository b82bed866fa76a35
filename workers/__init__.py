"""The worker process: takes leases from the control plane and makes target apps agree with the directory."""
