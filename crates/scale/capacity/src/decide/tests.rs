use super::*;
use crate::view::{Demand, ReplicaState, ReplicaView, VariantView};
use std::time::Duration;
use units::{Signal, Source};

mod choice;
mod properties;
mod robust;
mod scene;
mod simulation;
mod slo;
mod table;
mod tokens;

pub(crate) use scene::{Scene, Variant};
