//! The names of AWS's hosts: partitions, and the endpoints of Bedrock and STS.

/// A partition: regions whose names begin alike, and the domains of their endpoints (botocore,
/// `data/partitions.json`).
struct Partition {
    region_prefix: &'static str,
    suffix: &'static str,
    /// Of endpoints that have IPv6 as well.
    dual_stack_suffix: &'static str,
}

/// Where a region's name begins like none of these, it is one of the commercial partition.
const COMMERCIAL: Partition =
    Partition { region_prefix: "", suffix: "amazonaws.com", dual_stack_suffix: "api.aws" };

const GOV: &str = "us-gov-";

const PARTITIONS: [Partition; 7] = [
    Partition { region_prefix: GOV, ..COMMERCIAL },
    Partition {
        region_prefix: "cn-",
        suffix: "amazonaws.com.cn",
        dual_stack_suffix: "api.amazonwebservices.com.cn",
    },
    Partition {
        region_prefix: "eusc-",
        suffix: "amazonaws.eu",
        dual_stack_suffix: "api.amazonwebservices.eu",
    },
    Partition {
        region_prefix: "us-iso-",
        suffix: "c2s.ic.gov",
        dual_stack_suffix: "api.aws.ic.gov",
    },
    Partition {
        region_prefix: "us-isob-",
        suffix: "sc2s.sgov.gov",
        dual_stack_suffix: "api.aws.scloud",
    },
    Partition {
        region_prefix: "eu-isoe-",
        suffix: "cloud.adc-e.uk",
        dual_stack_suffix: "api.cloud-aws.adc-e.uk",
    },
    Partition {
        region_prefix: "us-isof-",
        suffix: "csp.hci.ic.gov",
        dual_stack_suffix: "api.aws.hci.ic.gov",
    },
];

fn partition(region: &str) -> &'static Partition {
    PARTITIONS.iter().find(|p| region.starts_with(p.region_prefix)).unwrap_or(&COMMERCIAL)
}

/// The name that Bedrock's runtime is signed for
/// (<https://docs.aws.amazon.com/general/latest/gr/bedrock.html>).
pub const BEDROCK: &str = "bedrock";
/// The service that speaks like OpenAI's and Anthropic's own; it is signed for by this name, and its hosts
/// have the dual-stack suffix only
/// (<https://docs.aws.amazon.com/bedrock/latest/userguide/bedrock-mantle.html>).
const MANTLE: &str = "bedrock-mantle";

/// The first label of the hosts of a service that is signed for by this name.
pub fn first_label(service: &str) -> &str {
    if service == BEDROCK { "bedrock-runtime" } else { service }
}

/// The public host of a service in a region.
pub fn service(service: &str, region: &str) -> String {
    let partition = partition(region);
    let suffix = if service == MANTLE { partition.dual_stack_suffix } else { partition.suffix };
    format!("{}.{region}.{suffix}", first_label(service))
}

/// The region of a host of a service: public, FIPS, dual stack or VPC endpoint. `None` for every other
/// host. The host is in lower case and has no port.
pub fn region_of<'h>(service: &str, host: &'h str) -> Option<&'h str> {
    let mut labels = host.split('.');
    let mut first = labels.next()?;
    let of_vpc = first.starts_with("vpce-");
    if of_vpc {
        first = labels.next()?;
    }
    let region = labels.next()?;
    let good = first.strip_suffix("-fips").unwrap_or(first) == first_label(service)
        && !region.is_empty()
        && region.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-')
        && (!of_vpc || labels.next() == Some("vpce"));
    let Partition { suffix, dual_stack_suffix, .. } = partition(region);
    let ends_in = |suffix: &str| labels.clone().eq(suffix.split('.'));
    (good && (ends_in(suffix) || ends_in(dual_stack_suffix))).then_some(region)
}

/// Which of STS's hosts is asked
/// (<https://docs.aws.amazon.com/sdkref/latest/guide/feature-sts-regionalized-endpoints.html>,
/// <https://docs.aws.amazon.com/sdkref/latest/guide/feature-endpoints.html>).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct StsChoice {
    /// `AWS_STS_REGIONAL_ENDPOINTS=legacy`: the global host, for the regions that were there before 2019.
    pub legacy: bool,
    /// `AWS_USE_FIPS_ENDPOINT`
    pub fips: bool,
    /// `AWS_USE_DUALSTACK_ENDPOINT`
    pub dual_stack: bool,
}

/// The regions for which `legacy` means the global host (botocore, the rules of STS's endpoints).
const LEGACY_REGIONS: [&str; 16] = [
    "ap-northeast-1",
    "ap-south-1",
    "ap-southeast-1",
    "ap-southeast-2",
    "aws-global",
    "ca-central-1",
    "eu-central-1",
    "eu-north-1",
    "eu-west-1",
    "eu-west-2",
    "eu-west-3",
    "sa-east-1",
    "us-east-1",
    "us-east-2",
    "us-west-1",
    "us-west-2",
];

/// STS's host for a region, and the region that a request to it is signed for.
pub fn sts(region: &str, choice: StsChoice) -> (String, &str) {
    let StsChoice { legacy, fips, dual_stack } = choice;
    let Partition { suffix, dual_stack_suffix, .. } = partition(region);
    if legacy && !fips && !dual_stack && LEGACY_REGIONS.contains(&region) {
        return (format!("sts.{suffix}"), "us-east-1");
    }
    // All hosts of GovCloud are validated, and have no other name.
    let first = if fips && (dual_stack || !region.starts_with(GOV)) { "sts-fips" } else { "sts" };
    let suffix = if dual_stack { dual_stack_suffix } else { suffix };
    (format!("{first}.{region}.{suffix}"), region)
}

/// An authority as a signature has it: in lower case, without a default port.
pub fn signed_form(authority: &str) -> String {
    let (host, port) = split_port(authority);
    let end = if matches!(port, Some("80" | "443")) { host.len() } else { authority.len() };
    authority.get(..end).unwrap_or(authority).to_ascii_lowercase()
}

/// Host and port of an authority; an IPv6 address is in brackets.
pub fn split_port(authority: &str) -> (&str, Option<&str>) {
    match authority.rsplit_once(':') {
        Some((host, port)) if !port.is_empty() && port.bytes().all(|b| b.is_ascii_digit()) => {
            (host, Some(port))
        }
        _ => (authority, None),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_host_of_bedrock_follows_the_partition_of_the_region() {
        for (region, host) in [
            ("us-east-1", "bedrock-runtime.us-east-1.amazonaws.com"),
            ("us-gov-west-1", "bedrock-runtime.us-gov-west-1.amazonaws.com"),
            ("cn-north-1", "bedrock-runtime.cn-north-1.amazonaws.com.cn"),
            ("eusc-de-east-1", "bedrock-runtime.eusc-de-east-1.amazonaws.eu"),
            ("us-iso-east-1", "bedrock-runtime.us-iso-east-1.c2s.ic.gov"),
            ("us-isob-east-1", "bedrock-runtime.us-isob-east-1.sc2s.sgov.gov"),
            ("eu-isoe-west-1", "bedrock-runtime.eu-isoe-west-1.cloud.adc-e.uk"),
            ("us-isof-south-1", "bedrock-runtime.us-isof-south-1.csp.hci.ic.gov"),
        ] {
            assert_eq!(service(BEDROCK, region), host);
            assert_eq!(region_of(BEDROCK, host), Some(region));
        }
    }

    #[test]
    fn every_kind_of_bedrock_host_tells_its_region() {
        for (host, region) in [
            ("bedrock-runtime-fips.us-east-1.amazonaws.com", "us-east-1"),
            ("bedrock-runtime.eu-west-1.api.aws", "eu-west-1"),
            ("bedrock-runtime-fips.us-gov-east-1.api.aws", "us-gov-east-1"),
            ("vpce-1.bedrock-runtime.us-east-1.vpce.amazonaws.com", "us-east-1"),
            ("vpce-0a-b-us-east-1a.bedrock-runtime-fips.us-east-1.vpce.amazonaws.com", "us-east-1"),
            ("vpce-1.bedrock-runtime.cn-north-1.vpce.amazonaws.com.cn", "cn-north-1"),
            ("bedrock-runtime.cn-north-1.api.amazonwebservices.com.cn", "cn-north-1"),
        ] {
            assert_eq!(region_of(BEDROCK, host), Some(region), "{host}");
        }
    }

    #[test]
    fn look_alikes_are_no_bedrock_hosts() {
        for host in [
            "",
            "bedrock-runtime",
            "bedrock-runtime.us-east-1",
            "bedrock-runtime.us-east-1.amazonaws.com.evil.example",
            "bedrock-runtime.us-east-1.amazonaws.com.",
            "xbedrock-runtime.us-east-1.amazonaws.com",
            "x.bedrock-runtime.us-east-1.amazonaws.com",
            "bedrock-runtime.us-east-1.xamazonaws.com",
            "bedrock-runtime.us-east-1.evil.amazonaws.com",
            "bedrock-runtime.us-east-1.amazonaws.com.cn",
            "bedrock-runtime.cn-north-1.amazonaws.com",
            "bedrock-runtime.us-east-1.vpce.amazonaws.com",
            "vpce-1.bedrock-runtime.us-east-1.amazonaws.com",
            "bedrock-runtime..amazonaws.com",
            "bedrock.us-east-1.amazonaws.com",
            "bedrock-runtime.us_east_1.amazonaws.com",
            "127.0.0.1",
        ] {
            assert_eq!(region_of(BEDROCK, host), None, "{host}");
        }
    }

    #[test]
    fn another_service_has_hosts_of_its_own_name() {
        let mantle = "bedrock-mantle.us-east-1.api.aws";
        assert_eq!(service(MANTLE, "us-east-1"), mantle);
        assert_eq!(region_of(MANTLE, mantle), Some("us-east-1"));
        assert_eq!(region_of(BEDROCK, mantle), None);
        let agent = "bedrock-agentcore.cn-north-1.amazonaws.com.cn";
        assert_eq!(service("bedrock-agentcore", "cn-north-1"), agent);
        assert_eq!(region_of("bedrock-agentcore", agent), Some("cn-north-1"));
        assert_eq!(region_of("bedrock-agent", agent), None);
    }

    #[test]
    fn sts_is_asked_where_the_sdks_ask_it() {
        let plain = StsChoice::default();
        let legacy = StsChoice { legacy: true, ..plain };
        let fips = StsChoice { fips: true, ..plain };
        let dual = StsChoice { dual_stack: true, ..plain };
        let both = StsChoice { fips: true, ..dual };
        for (region, choice, host, signed) in [
            ("us-east-1", plain, "sts.us-east-1.amazonaws.com", "us-east-1"),
            ("cn-north-1", plain, "sts.cn-north-1.amazonaws.com.cn", "cn-north-1"),
            ("eusc-de-east-1", plain, "sts.eusc-de-east-1.amazonaws.eu", "eusc-de-east-1"),
            ("us-isob-east-1", plain, "sts.us-isob-east-1.sc2s.sgov.gov", "us-isob-east-1"),
            ("eu-west-1", legacy, "sts.amazonaws.com", "us-east-1"),
            ("eu-south-1", legacy, "sts.eu-south-1.amazonaws.com", "eu-south-1"),
            ("cn-north-1", legacy, "sts.cn-north-1.amazonaws.com.cn", "cn-north-1"),
            ("us-west-2", fips, "sts-fips.us-west-2.amazonaws.com", "us-west-2"),
            ("us-gov-west-1", fips, "sts.us-gov-west-1.amazonaws.com", "us-gov-west-1"),
            ("us-west-2", dual, "sts.us-west-2.api.aws", "us-west-2"),
            ("cn-north-1", dual, "sts.cn-north-1.api.amazonwebservices.com.cn", "cn-north-1"),
            ("us-west-2", both, "sts-fips.us-west-2.api.aws", "us-west-2"),
            ("us-gov-west-1", both, "sts-fips.us-gov-west-1.api.aws", "us-gov-west-1"),
            (
                "eu-west-1",
                StsChoice { legacy: true, ..fips },
                "sts-fips.eu-west-1.amazonaws.com",
                "eu-west-1",
            ),
        ] {
            assert_eq!(sts(region, choice), (host.to_owned(), signed), "{region} {choice:?}");
        }
    }

    #[test]
    fn a_default_port_is_no_part_of_what_is_signed() {
        for (authority, signed) in [
            (
                "Bedrock-Runtime.us-east-1.amazonaws.com:443",
                "bedrock-runtime.us-east-1.amazonaws.com",
            ),
            ("a.example:80", "a.example"),
            ("a.example:8443", "a.example:8443"),
            ("[::1]:443", "[::1]"),
            ("[fd00::443]", "[fd00::443]"),
            ("a.example:", "a.example:"),
        ] {
            assert_eq!(signed_form(authority), signed);
        }
    }
}
