"""The emulated MPC320 passes the driver of PyPI qmi, unmodified. Argument: a serial node."""

import importlib.metadata
import sys
import time

from check import Checks
from qmi.core.context import QMI_Context
from qmi.instruments.thorlabs.apt_protocol import AptChannelJogDirection, AptChannelState
from qmi.instruments.thorlabs.mpc320 import Thorlabs_Mpc320

COUNT = 170 / 1370  # degrees


# A paddle at 400 degrees per second is anywhere within half a second. The driver is not asked while
# the paddle moves: qmi 0.54.2 expects 20 bytes of MOT_MOVE_COMPLETED, where the MPC320 sends the
# header alone (observed by PnPQ, pull request 66), and fails when it meets that message.
MOVE_TIME = 1.0

checks = Checks(f"qmi {importlib.metadata.version('qmi')}")
context = QMI_Context("conformance")
context.start()
controller = Thorlabs_Mpc320(context, "mpc", f"serial:{sys.argv[1]}:baudrate=115200:rtscts=True")
controller.open()

identity = controller.get_idn()
model = identity.model
model = model.decode() if isinstance(model, bytes) else str(model)
checks.expect("model", model.startswith("MPC320"), identity)
checks.expect("serial number", str(identity.serial).startswith("38"), identity)
controller.identify()

controller.enable_channels([1, 2, 3])
for channel in (1, 2, 3):
    state = controller.get_channel_state(channel)
    checks.expect(f"channel {channel} enabled", state == AptChannelState.ENABLE, state)
controller.enable_channels([2])
state = controller.get_channel_state(1)
checks.expect("enabling replaces the mask", state == AptChannelState.DISABLE, state)
controller.disable_all_channels()
state = controller.get_channel_state(2)
checks.expect("all channels disabled", state == AptChannelState.DISABLE, state)
controller.enable_channels([1, 2, 3])

controller.set_polarisation_parameters(100, 80, 10, 5, 5)
parameters = controller.get_polarisation_parameters()
checks.expect("velocity", parameters.velocity == 100, parameters)
checks.expect("home position", abs(parameters.home_position - 80) < COUNT, parameters)
checks.expect("jog step", abs(parameters.jog_step1 - 10) < COUNT, parameters)

for channel, position in ((1, 10.0), (2, 120.0), (3, 85.0), (1, 159.0)):
    controller.move_absolute(channel, position)
    time.sleep(MOVE_TIME)
    checks.expect(f"move of paddle {channel} completed", controller.is_move_completed(channel))
    status = controller.get_status_update(channel)
    checks.expect(
        f"paddle {channel} at {position}", abs(status.position - position) < COUNT, status)
    checks.expect("at rest", status.velocity == 0 and status.motor_current == 0, status)

controller.home_channel(2)
time.sleep(MOVE_TIME)
checks.expect("paddle 2 homed", controller.is_channel_homed(2))
status = controller.get_status_update(2)
checks.expect("paddle 2 at home", abs(status.position - 80) < COUNT, status)

controller.jog(1, AptChannelJogDirection.BACKWARD)
time.sleep(0.5)
status = controller.get_status_update(1)
checks.expect("jog", abs(status.position - 149) < 2 * COUNT, status)

controller.start_auto_status_update()
time.sleep(0.3)
controller.stop_auto_status_update()
time.sleep(0.2)  # updates on the line when the command arrived
status = controller.get_status_update(3)
checks.expect("status after updates", abs(status.position - 85) < COUNT, status)

controller.close()
context.stop()
checks.finish()
