//! payonce moves money between accounts in one Postgres database, and never twice.
//!
//! The modules in reading order. Each uses those below it, never those above:
//! `http -> {service, auth}`, `service -> {db, domain}`, `db -> domain`, `auth -> domain`, `domain ->`
//! nothing. Around them is what makes a program of them.

pub mod commands;
pub mod process;

pub mod http;
pub mod service;

pub mod auth;
pub mod db;
pub mod domain;

pub mod config;
pub mod telemetry;
