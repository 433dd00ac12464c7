//! The names of AWS's hosts: partitions, and the endpoints of Bedrock.

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

const PARTITIONS: [Partition; 7] = [
    Partition { region_prefix: "us-gov-", ..COMMERCIAL },
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

/// The public host of Bedrock's runtime in a region.
pub fn bedrock(region: &str) -> String {
    format!("bedrock-runtime.{region}.{}", partition(region).suffix)
}

/// The region of a host of Bedrock's runtime: public, FIPS, dual stack or VPC endpoint. `None` for
/// every other host. The host is in lower case and has no port.
pub fn bedrock_region(host: &str) -> Option<&str> {
    let mut labels = host.split('.');
    let mut first = labels.next()?;
    let of_vpc = first.starts_with("vpce-");
    if of_vpc {
        first = labels.next()?;
    }
    let region = labels.next()?;
    let good = matches!(first, "bedrock-runtime" | "bedrock-runtime-fips")
        && !region.is_empty()
        && region.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-')
        && (!of_vpc || labels.next() == Some("vpce"));
    let Partition { suffix, dual_stack_suffix, .. } = partition(region);
    let ends_in = |suffix: &str| labels.clone().eq(suffix.split('.'));
    (good && (ends_in(suffix) || ends_in(dual_stack_suffix))).then_some(region)
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
            assert_eq!(bedrock(region), host);
            assert_eq!(bedrock_region(host), Some(region));
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
            assert_eq!(bedrock_region(host), Some(region), "{host}");
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
            assert_eq!(bedrock_region(host), None, "{host}");
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
