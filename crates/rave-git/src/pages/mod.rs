//! What people see of projects, files and history.
