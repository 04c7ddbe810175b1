//! What the command line as a whole is to be.

mod readme;
