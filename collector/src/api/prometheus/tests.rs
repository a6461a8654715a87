//! Families against cAdvisor's, and whole answers.

mod applications;
mod contract;
mod fixture;
mod golden;
mod info;
mod limits;
mod parsed;
mod remote_write;
mod series;
mod unread;
