//! How a function's rules are laid out in its sandbox's own network. Pure.
//!
//! - A name at a port, `api.example.com:443`: `/etc/hosts` leads it to an address of the loopback of its own, where a
//!   listener is.
//! - An IPv4 address or network at a port, `10.0.0.0/8:5432`: the network is made the loopback's, and a listener takes
//!   what connects to any address of it.
//! - Everything else (wildcards, any port, IPv6): through the proxy that the environment names.
//!
//! So ordinary clients work unmodified wherever a rule says what to prepare for.

use std::{
    collections::BTreeMap,
    net::{IpAddr, Ipv4Addr, SocketAddr, SocketAddrV4},
};

use updraft_sandbox::Network as Layout;
use updraft_types::egress::{Host, HostName, Policy, Rule, Target};

use super::endpoint;

/// Where the proxy listens.
const PROXY: SocketAddrV4 = SocketAddrV4::new(Ipv4Addr::new(127, 1, 0, 1), 3128);
/// The first address that a name leads to.
const FIRST_NAME: Ipv4Addr = Ipv4Addr::new(127, 1, 0, 2);
/// Ports below are out of a guest's own reach (`ip_unprivileged_port_start`), so one listener at any address can
/// serve all that is laid out at such a port without being in a guest's way. Each listener is a descriptor of the
/// platform's for as long as the sandbox lives.
const PRIVILEGED_PORTS: u16 = 1024;
/// Networks that share fewer bits are left to the proxy: they are not anybody's own.
const PREFIX_MIN: u8 = 8;

/// A sandbox's network, and what connecting to its addresses means.
pub(crate) struct Plan {
    policy: Policy,
    layout: Layout,
    names: BTreeMap<Ipv4Addr, HostName>,
    /// Where the proxy listens, if there is one.
    pub(super) proxy: Option<SocketAddrV4>,
    /// Where the platform's services are, if they are reached.
    pub(super) endpoint: Option<SocketAddrV4>,
}

/// What a guest wants by connecting somewhere.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Way {
    /// To tell the proxy.
    Proxy,
    /// The platform's own services.
    Endpoint,
    /// This.
    To(Host, u16),
}

impl Plan {
    /// For a function that may connect as `policy` says. `taken` is the port that its own server or its Runtime API
    /// listens at, and that nothing may be in the way of.
    pub(crate) fn new(policy: Policy, taken: u16) -> Self {
        let mut plan = Self { policy, layout: Layout::default(), names: BTreeMap::new(), proxy: None, endpoint: None };
        let rules = plan.policy.egress().rules().to_vec();
        // Networks first: where one has a listener at any address of a port, names at the port use it too.
        let (networks, others): (Vec<Rule>, Vec<Rule>) =
            rules.into_iter().partition(|rule| matches!(rule.target, Target::Network(_)));
        for rule in networks.iter().chain(&others) {
            let is_laid_out = match rule.port.filter(|port| *port != taken) {
                Some(port) => plan.lay_out(&rule.target, port),
                None => false,
            };
            if !is_laid_out {
                plan.proxy = Some(PROXY);
            }
        }
        if let Some(proxy) = plan.proxy {
            plan.listen_at(*proxy.ip(), proxy.port());
        }
        plan
    }

    /// The same with the platform's services.
    pub(crate) fn with_endpoint(mut self) -> Self {
        self.endpoint = Some(endpoint::INSIDE);
        self.listen_at(*endpoint::INSIDE.ip(), endpoint::INSIDE.port());
        self
    }

    fn lay_out(&mut self, target: &Target, port: u16) -> bool {
        match target {
            Target::Name(name) => {
                let known = self.names.iter().find(|(_, known)| *known == name).map(|(address, _)| *address);
                let address = known.unwrap_or_else(|| self.add_name(name));
                self.listen_at(address, port);
                true
            }
            Target::Network(network) => {
                let IpAddr::V4(first) = network.first() else { return false };
                if network.prefix() < PREFIX_MIN || first.octets()[0] == 0 {
                    return false;
                }
                let entry = (first, network.prefix());
                if !self.layout.networks.contains(&entry) {
                    self.layout.networks.push(entry);
                }
                self.listen_at(if network.is_single() { first } else { Ipv4Addr::UNSPECIFIED }, port);
                true
            }
            Target::Below(_) | Target::Anywhere => false,
        }
    }

    fn add_name(&mut self, name: &HostName) -> Ipv4Addr {
        let next = u32::try_from(self.names.len()).expect("a function has few rules");
        let address = Ipv4Addr::from_bits(FIRST_NAME.to_bits() + next);
        self.names.insert(address, name.clone());
        self.layout.hosts.push((address, name.to_string()));
        address
    }

    /// One listener at any address of a port takes all others of that port in: both cannot be.
    fn listen_at(&mut self, address: Ipv4Addr, port: u16) {
        let address = if port < PRIVILEGED_PORTS { Ipv4Addr::UNSPECIFIED } else { address };
        let listeners = &mut self.layout.listen_at;
        let wanted = SocketAddrV4::new(address, port);
        if listeners.contains(&wanted) || listeners.contains(&SocketAddrV4::new(Ipv4Addr::UNSPECIFIED, port)) {
            return;
        }
        if address.is_unspecified() {
            listeners.retain(|other| other.port() != port);
        }
        listeners.push(wanted);
    }

    /// The rules behind it.
    pub(crate) fn policy(&self) -> &Policy {
        &self.policy
    }

    /// Whether there is nothing to listen for.
    pub(crate) fn is_empty(&self) -> bool {
        self.layout.listen_at.is_empty()
    }

    /// Whether the layout tells nothing of the rules: nothing of them is in it, or the proxy alone.
    pub(crate) fn is_common(&self) -> bool {
        let Layout { networks, listen_at, hosts } = &self.layout;
        networks.is_empty()
            && hosts.is_empty()
            && listen_at.iter().all(|address| [self.proxy, self.endpoint].contains(&Some(*address)))
    }

    /// For the sandbox's specification.
    pub(crate) fn layout(&self) -> &Layout {
        &self.layout
    }

    /// Variables that tell clients of the proxy, in both of the spellings in use. All name it as an HTTP proxy:
    /// some clients refuse to start when a variable names a SOCKS proxy and they lack the library for it.
    pub(crate) fn environment(&self) -> Vec<(String, String)> {
        let endpoint = self.endpoint.map(|_| endpoint::environment());
        let Some(proxy) = self.proxy else { return endpoint.into_iter().collect() };
        let proxy = format!("http://{proxy}");
        let own = match self.endpoint {
            None => "localhost,127.0.0.1,::1".to_owned(),
            Some(endpoint) => format!("localhost,127.0.0.1,{},::1", endpoint.ip()),
        };
        let each = [("HTTP_PROXY", &proxy), ("HTTPS_PROXY", &proxy), ("ALL_PROXY", &proxy), ("NO_PROXY", &own)];
        let both = each.into_iter().flat_map(|(name, value)| [(name.to_owned(), value), (name.to_lowercase(), value)]);
        both.map(|(name, value)| (name, value.clone()))
            // Node.js 24 and later heed the variables above if told so.
            .chain([("NODE_USE_ENV_PROXY".to_owned(), "1".to_owned())])
            .chain(endpoint)
            .collect()
    }

    /// What a connection to `local`, an address of the sandbox's, is for.
    pub(crate) fn way(&self, local: SocketAddr) -> Way {
        let IpAddr::V4(address) = local.ip().to_canonical() else {
            return Way::To(Host::Address(local.ip()), local.port());
        };
        let local_v4 = Some(SocketAddrV4::new(address, local.port()));
        if self.proxy == local_v4 {
            return Way::Proxy;
        }
        if self.endpoint == local_v4 {
            return Way::Endpoint;
        }
        let host = match self.names.get(&address) {
            Some(name) => Host::Name(name.clone()),
            None => Host::Address(IpAddr::V4(address)),
        };
        Way::To(host, local.port())
    }
}

#[cfg(test)]
mod tests {
    use updraft_types::Egress;

    use super::*;

    fn plan(rules: &[&str]) -> Plan {
        let rules = rules.iter().map(|rule| rule.parse().unwrap());
        Plan::new(Policy::new(Egress::allow(rules).unwrap(), [].into()), 9001)
    }

    fn listeners(plan: &Plan) -> Vec<String> {
        plan.layout().listen_at.iter().map(ToString::to_string).collect()
    }

    fn way(plan: &Plan, local: &str) -> Way {
        plan.way(local.parse().unwrap())
    }

    fn to(host: &str, port: u16) -> Way {
        Way::To(host.parse().unwrap(), port)
    }

    #[test]
    fn no_rules_lay_out_nothing() {
        let plan = plan(&[]);
        assert!(plan.is_empty() && plan.environment().is_empty());
    }

    #[test]
    fn names_have_addresses_of_their_own() {
        let plan = plan(&["a.example:443", "b.example:443", "a.example:8443", "b.example:8443"]);
        assert_eq!(listeners(&plan), ["0.0.0.0:443", "127.1.0.2:8443", "127.1.0.3:8443"]);
        assert_eq!(plan.layout().hosts[1], (Ipv4Addr::new(127, 1, 0, 3), "b.example".to_owned()));
        assert_eq!(way(&plan, "127.1.0.3:443"), to("b.example", 443));
        assert_eq!(way(&plan, "127.1.0.2:8443"), to("a.example", 8443));
        // What connects to such a listener by no address of a name's is judged as that address, and refused.
        assert_eq!(way(&plan, "127.0.0.1:443"), to("127.0.0.1", 443));
        assert!(plan.environment().is_empty());
    }

    #[test]
    fn networks_are_made_the_loopbacks_and_share_a_ports_listener() {
        let plan = plan(&["a.example:5432", "10.0.0.0/8:5432", "192.168.1.7:2222", "192.168.1.7:5432"]);
        assert_eq!(listeners(&plan), ["0.0.0.0:5432", "192.168.1.7:2222"]);
        let networks = [(Ipv4Addr::new(10, 0, 0, 0), 8), (Ipv4Addr::new(192, 168, 1, 7), 32)];
        assert_eq!(plan.layout().networks, networks);
        assert_eq!(way(&plan, "10.1.2.3:5432"), to("10.1.2.3", 5432));
        assert_eq!(way(&plan, "127.1.0.2:5432"), to("a.example", 5432));
        assert_eq!(way(&plan, "[::ffff:10.1.2.3]:5432"), to("10.1.2.3", 5432));
        assert!(plan.environment().is_empty());
    }

    #[test]
    fn what_cannot_be_prepared_for_goes_through_the_proxy() {
        for rule in [
            "*:*",
            "*.example.com:443",
            "a.example:*",
            "10.0.0.0/8:*",
            "[fd00::/8]:443",
            "0.0.0.0/0:443",
            "8.0.0.0/7:1",
        ] {
            let plan = plan(&[rule]);
            assert_eq!(listeners(&plan), ["127.1.0.1:3128"], "{rule}");
            assert_eq!(way(&plan, "127.1.0.1:3128"), Way::Proxy);
            let environment = plan.environment();
            for name in ["HTTPS_PROXY", "https_proxy", "ALL_PROXY"] {
                assert!(environment.contains(&(name.to_owned(), "http://127.1.0.1:3128".to_owned())), "{name}");
            }
        }
    }

    #[test]
    fn the_platforms_services_are_there_whatever_the_rules() {
        let none = plan(&[]).with_endpoint();
        assert_eq!(listeners(&none), ["127.1.0.1:3129"]);
        assert!(none.is_common() && !none.is_empty());
        assert_eq!(none.environment(), [("AWS_ENDPOINT_URL".to_owned(), "http://127.1.0.1:3129".to_owned())]);
        for rule in ["*:*", "10.0.0.0/8:3129", "a.example:3129"] {
            let plan = plan(&[rule]).with_endpoint();
            assert_eq!(way(&plan, "127.1.0.1:3129"), Way::Endpoint, "{rule}");
            assert_ne!(way(&plan, "127.1.0.1:3128"), Way::Endpoint);
            assert_ne!(way(&plan, "127.0.0.1:3129"), Way::Endpoint);
        }
        let proxied = plan(&["*:*"]).with_endpoint();
        assert!(proxied.is_common());
        // Not by way of the proxy.
        let bypassed = ("no_proxy".to_owned(), "localhost,127.0.0.1,127.1.0.1,::1".to_owned());
        assert!(proxied.environment().contains(&bypassed));
    }

    #[test]
    fn the_port_of_a_functions_own_stays_free() {
        let plan = plan(&["a.example:9001", "10.0.0.0/8:9001", "a.example:443"]);
        assert_eq!(listeners(&plan), ["0.0.0.0:443", "127.1.0.1:3128"]);
    }

    #[test]
    fn a_sandbox_can_carry_as_many_rules_as_a_function_may_have() {
        let rules: Vec<String> = (1..updraft_types::egress::RULES_MAX)
            .map(|number| format!("h{number}.example:{}", 2000 + number))
            .collect();
        let rules: Vec<&str> = rules.iter().map(String::as_str).chain(["*:*"]).collect();
        let plan = plan(&rules).with_endpoint();
        assert_eq!(plan.layout().listen_at.len(), rules.len() + 1);
        assert!(plan.layout().listen_at.len() <= updraft_sandbox::LISTENERS_AT_MAX);
    }
}
