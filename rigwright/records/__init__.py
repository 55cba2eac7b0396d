"""What rigwright left on a rig: services, releases, records of this and of earlier versions, read tolerantly."""
