// Grafana imports this CommonJS module's default as its class; a bundler's default is
// all that the module exports.
import * as module from './node_modules/react-custom-scrollbars-2/lib/index.js';

export const Scrollbars = module.Scrollbars || module.default?.Scrollbars;
export default Scrollbars;
