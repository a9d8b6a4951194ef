//! The roles of libp2p's infrastructure: a relay, and both sides of AutoNAT.

use std::time::Duration;

use libp2p::autonat;
use serde_json::{Value, json};

use super::{PRIVATE, PUBLIC, Peer, UNKNOWN};
use crate::{
    contract::{emit, event},
    node::reached,
};

const VERDICT_DEADLINE: Duration = Duration::from_secs(40);
const CONFIDENT: usize = 3; // AutoNAT v1's own measure of being sure

impl Peer {
    /// A public node: it observes and answers AutoNAT, and relays if that is its role.
    pub(super) fn serve(&mut self) {
        let address = reached(&self.configure);
        // Else AutoNAT and the relay would not know an address to give away.
        self.swarm.add_external_address(address.clone());
        let address = format!("{address}/p2p/{}", self.swarm.local_peer_id());
        emit(&event("ready", json!({"addresses": [address]})));
    }

    /// Asks the servers, and tells what rust-libp2p concludes of their answers.
    pub(super) async fn ask(&mut self) -> Result<(), String> {
        emit(&event("listening", json!({"local": self.local})));
        self.meet(self.configure.observers.clone()).await?;
        if !self.observed.is_empty() {
            let sure = |seen: &Self| (seen.confident() && seen.judged_all()).then_some(Ok(()));
            let _ = self.within(VERDICT_DEADLINE, sure).await; // else it stays unknown
        }
        let verdicts = json!({"v1": self.node_verdict(), "v2": self.address_verdicts()});
        emit(&event("verdicts", verdicts));
        Ok(())
    }

    fn confident(&self) -> bool {
        let v1 = self.swarm.behaviour().node_autonat.as_ref();
        v1.is_some_and(|v1| v1.confidence() == CONFIDENT)
    }

    fn judged_all(&self) -> bool {
        self.judged.values().all(|verdict| *verdict != UNKNOWN)
    }

    fn node_verdict(&self) -> &'static str {
        let v1 = self.swarm.behaviour().node_autonat.as_ref();
        match v1.map(autonat::v1::Behaviour::nat_status) {
            Some(autonat::v1::NatStatus::Public(_)) => PUBLIC,
            Some(autonat::v1::NatStatus::Private) => PRIVATE,
            _ => UNKNOWN,
        }
    }

    fn address_verdicts(&self) -> Vec<Value> {
        let one = |(address, verdict)| json!({"address": address, "verdict": verdict});
        self.judged.iter().map(one).collect()
    }
}
