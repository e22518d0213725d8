// Mode fw, and discovery by the firmware: the targets that the machine was told to boot from (iBFT). Each becomes a record of
// startup onboot, bound by its MAC to the NIC that the firmware used for it, so that all of them carry the disk.
#include <fmt/format.h>

#include <algorithm>

#include "db/settings.hpp"
#include "initiator/boot_firmware.hpp"
#include "initiator/mpathadm_print.hpp"
#include "initiator/mpathadm_run.hpp"

namespace mpath::adm {
namespace {

std::string iface_name(unsigned nic) { return fmt::format("ibft{}", nic); }

Outcome<BootFirmware> read(Context& context) {
  const auto directory = context.layout.boot_firmware();
  auto firmware = read_boot_firmware(directory);
  if (firmware && !firmware->targets.empty()) return *std::move(firmware);
  if (!firmware && firmware.error() != std::errc::no_such_file_or_directory) {
    return std::unexpected(Failure{ExitCode::sysfs_lookup, fmt::format("{}: {}", directory.string(), firmware.error().message())});
  }
  return std::unexpected(Failure{ExitCode::no_objects_found, "Could not get list of targets from firmware."});
}

db::Settings iface_settings(const BootFirmware& firmware, unsigned nic) {
  const BootNic& found = *std::ranges::find(firmware.nics, nic, &BootNic::index);
  // A VLAN has the MAC of the NIC below it; its address tells them apart.
  db::Settings settings{{"iface.hwaddress", found.mac}, {"iface.ipaddress", found.vlan != 0 ? found.address : ""}};
  if (!firmware.initiator_name.empty()) settings["iface.initiatorname"] = firmware.initiator_name;
  return settings;
}

db::NodeKey key_of(const BootTarget& target) {
  return {.target_name = target.name, .address = target.address, .port = target.port, .iface = iface_name(target.nic)};
}

db::Settings node_settings(const BootTarget& target) {
  db::Settings settings{{"node.startup", "onboot"}};
  const auto set = [&settings](const char* key, const std::string& value) {
    if (!value.empty()) settings[key] = value;
  };
  if (!target.user.empty()) settings["node.session.auth.authmethod"] = "CHAP";
  set("node.session.auth.username", target.user);
  set("node.session.auth.password", target.password);
  set("node.session.auth.username_in", target.user_in);
  set("node.session.auth.password_in", target.password_in);
  return settings;
}

// As open-iscsi prints what the firmware says: a record of each target, with the keys that it decides. Secrets never.
std::string dump(const BootFirmware& firmware, const Context& context) {
  std::string text;
  for (const BootTarget& target : firmware.targets) {
    const BootNic& nic = *std::ranges::find(firmware.nics, target.nic, &BootNic::index);
    const auto line = [&text](const std::string& key, const std::string& value) {
      if (!value.empty()) text += fmt::format("{} = {}\n", key, value);
    };
    text += fmt::format("# BEGIN RECORD {}\n", context.version);
    line("iface.initiatorname", firmware.initiator_name);
    line("iface.hwaddress", nic.mac);
    line("iface.ipaddress", nic.address);
    line("iface.subnet_mask", nic.subnet_mask);
    line("iface.gateway", nic.gateway);
    if (nic.vlan != 0) line("iface.vlan_id", std::to_string(nic.vlan));
    line("node.name", target.name);
    line("node.conn[0].address", target.address);
    line("node.conn[0].port", std::to_string(target.port));
    line("node.boot_lun", target.lun);
    for (const auto& [key, value] : node_settings(target)) line(key, db::is_secret(key) ? "********" : value);
    text += "# END RECORD\n";
  }
  return text;
}

// The records; what an administrator set in one that is there stays, but for what the firmware decides.
Outcome<std::vector<db::NodeKey>> keep(Context& context, const BootFirmware& firmware) {
  const auto store = context.store();
  if (!store) return std::unexpected(store.error());
  for (const BootNic& nic : firmware.nics) {
    const std::string name = iface_name(nic.index);
    const db::Settings settings = iface_settings(firmware, nic.index);
    error_code error = (*store)->add_iface(name, settings);
    if (error == db::StoreErrc::exists) error = (*store)->update_iface(name, settings);
    if (error) return std::unexpected(store_failure(error, fmt::format("Could not write iface {}", name)));
  }
  std::vector<db::NodeKey> keys;
  for (const BootTarget& target : firmware.targets) {
    db::NodeKey key = key_of(target);
    const auto known = (*store)->nodes(db::NodeFilter{.target_name = key.target_name, .iface = key.iface});
    if (!known) return std::unexpected(store_failure(known.error(), "Could not read the node records"));
    const auto same = std::ranges::find_if(*known, [&key](const db::NodeRecord& record) {
      return record.key.address == key.address && record.key.port == key.port;
    });
    if (same != known->end()) key = same->key;  // with its portal group
    const error_code error = same != known->end() ? (*store)->update_node(key, node_settings(target))
                                                  : (*store)->add_node(key, node_settings(target));
    if (error) return std::unexpected(store_failure(error, fmt::format("Could not write the record of {}", key.target_name)));
    keys.push_back(std::move(key));
  }
  return keys;
}

}  // namespace

ExitCode run_firmware(Context& context, const FirmwareCommand& command, const CommandLine& line) {
  const auto firmware = read(context);
  if (!firmware) return show_failure(context.console, firmware.error());
  if (!command.login) {
    context.console.print(dump(*firmware, context));
    return ExitCode::success;
  }
  auto keys = keep(context, *firmware);
  if (!keys) return show_failure(context.console, keys.error());
  return log_in(context, *std::move(keys), line.wait);
}

ExitCode run_firmware_discovery(Context& context, bool login, const CommandLine& line) {
  const auto firmware = read(context);
  if (!firmware) return show_failure(context.console, firmware.error());
  auto keys = keep(context, *firmware);
  if (!keys) return show_failure(context.console, keys.error());
  context.console.print(line.print_level == 1 ? nodes_tree(*keys, TreeStyle::discovery) : nodes_flat(*keys, UnknownGroup::as_minus_one));
  return login ? log_in(context, *std::move(keys), line.wait) : ExitCode::success;
}

}  // namespace mpath::adm
